package detect

import (
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"
)

// RegistryError is the error with which a registry refuses a request, in the form of the
// distribution specification.
type RegistryError struct {
	Codes []string
	// for people: the messages of all errors. If the body is not in that form, its text, unless
	// that is HTML
	Message string
	Details []string // the details that are strings
}

// maxMessage bounds the bytes of a RegistryError's Message, and of each of its Details.
const maxMessage = 1024

// ReadRegistryError reads the body of an answer that is no success.
func ReadRegistryError(body []byte) (e RegistryError) {
	var answer struct {
		Errors []struct {
			Code    string          `json:"code"`
			Message string          `json:"message"`
			Detail  json.RawMessage `json:"detail"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &answer) != nil {
		if text := strings.TrimSpace(string(body)); !strings.HasPrefix(text, "<") && !strings.HasPrefix(text, "{") {
			e.Message = showable(text)
		}
		return e
	}
	var messages []string
	for _, one := range answer.Errors {
		if one.Code != "" {
			e.Codes = append(e.Codes, showable(one.Code))
		}
		if one.Message != "" {
			messages = append(messages, one.Message)
		}
		var detail string
		if json.Unmarshal(one.Detail, &detail) == nil && detail != "" {
			e.Details = append(e.Details, showable(detail))
		}
	}
	e.Message = showable(strings.Join(messages, "; "))
	return e
}

// showable returns a text without control characters, cut at maxMessage bytes.
func showable(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "�"))
	if len(s) > maxMessage {
		s = s[:maxMessage]
		for !utf8.ValidString(s) {
			s = s[:len(s)-1]
		}
	}
	return s
}
