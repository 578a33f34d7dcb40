package quota

import (
	"encoding/json"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/bellbuoy/bellbuoy/detect"
)

// words are how registries say, in a message or a code, that a push is over a quota. All are lower case.
var words = []string{
	"exceed the configured upper limit", // Harbor
	"quota has been exceeded",           // Quay
	"storage limit has been reached",    // GitLab
	"limit_exceeded", "limitexceeded",   // ECR
	"storage limit", "storagelimit", // ACR
	"disk usage is too high", "storage quota", // Artifactory
	"quota exceeded", "quotaexceeded", "quota_exceeded", "exceeds quota", "exceeded quota", "exceeds the quota", "exceeded the quota", "over quota", "over the quota",
}

// Refused reports whether a push was refused for a quota of the upstream's own, and in which words. A request that is too large
// (413) and storage that is full (507) count without words; rate limits (429) never do.
func Refused(op *detect.Operation) (details string, refused bool) {
	switch op.Action {
	case detect.UploadStart, detect.UploadChunk, detect.UploadEnd, detect.ManifestPut:
	default:
		return "", false
	}
	switch op.Status {
	case http.StatusRequestEntityTooLarge, http.StatusInsufficientStorage:
		_, message := said(op.Got.Bytes)
		if message == "" {
			message = http.StatusText(op.Status)
		}
		return message, true
	case http.StatusBadRequest, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusConflict:
		codes, message := said(op.Got.Bytes)
		if refused = about(codes + message); message == "" {
			message = strings.TrimSpace(codes)
		}
		return message, refused
	}
	return "", false
}

func about(text string) bool {
	text = strings.ToLower(text)
	for _, w := range words {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}

const maxDetails = 1024 // bytes of the upstream's words

// said reads the answer of a registry: its errors' codes, and their messages as a text for people. Of an answer that is no
// registry's the beginning counts, where it is no page.
func said(body []byte) (codes, message string) {
	var answer struct {
		Errors []struct {
			Code    string          `json:"code"`
			Message string          `json:"message"`
			Detail  json.RawMessage `json:"detail"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &answer) != nil {
		if text := strings.TrimSpace(string(body)); !strings.HasPrefix(text, "<") && !strings.HasPrefix(text, "{") {
			return "", plain(text)
		}
		return "", ""
	}
	var messages []string
	for _, e := range answer.Errors {
		codes += e.Code + " "
		text := e.Message
		var detail string
		if json.Unmarshal(e.Detail, &detail) == nil && about(detail) {
			text = detail
		}
		if text != "" {
			messages = append(messages, text)
		}
	}
	return codes, plain(strings.Join(messages, "; "))
}

// plain is a text without control characters, cut at maxDetails.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "�"))
	if len(s) > maxDetails {
		s = s[:maxDetails]
		for !utf8.ValidString(s) {
			s = s[:len(s)-1]
		}
	}
	return s
}
