package quota

import (
	"cmp"
	"net/http"
	"strings"

	"github.com/bellbuoy/bellbuoy/detect"
)

// words are the texts in messages and codes by which registries refuse a push that is over a quota.
// All are lower case.
var words = []string{
	"exceed the configured upper limit", // Harbor
	"quota has been exceeded",           // Quay
	"storage limit has been reached",    // GitLab
	"limit_exceeded", "limitexceeded",   // ECR
	"storage limit", "storagelimit", // ACR
	"disk usage is too high", "storage quota", // Artifactory
	"quota exceeded", "quotaexceeded", "quota_exceeded", "exceeds quota", "exceeded quota", "exceeds the quota", "exceeded the quota", "over quota", "over the quota",
}

// Refused reports whether the upstream refused a push because of its own quota, and returns its
// message. The statuses 413 and 507 count whatever the message is. A rate limit (429) never counts.
func Refused(op *detect.Operation) (details string, refused bool) {
	switch op.Action {
	case detect.UploadStart, detect.UploadChunk, detect.UploadEnd, detect.ManifestPut:
	default:
		return "", false
	}
	switch op.Status {
	case http.StatusRequestEntityTooLarge, http.StatusInsufficientStorage:
		if details = detect.ReadRegistryError(op.Got.Bytes).Message; details == "" {
			details = http.StatusText(op.Status)
		}
		return details, true
	case http.StatusBadRequest, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusConflict:
		return aboutQuota(detect.ReadRegistryError(op.Got.Bytes))
	}
	return "", false
}

// aboutQuota reports whether an error is about a quota, and returns its message.
func aboutQuota(e detect.RegistryError) (details string, ok bool) {
	if about(e.Message) {
		return e.Message, true
	}
	for _, detail := range e.Details {
		if about(detail) {
			return detail, true
		}
	}
	for _, code := range e.Codes {
		if about(code) {
			return cmp.Or(e.Message, code), true
		}
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
