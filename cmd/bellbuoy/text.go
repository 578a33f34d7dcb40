package main

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

func setIf(q url.Values, key, value string) {
	if value != "" {
		q.Set(key, value)
	}
}

func statusText(status int) string {
	if status == 0 {
		return "no answer"
	}
	return strings.TrimSpace(strconv.Itoa(status) + " " + http.StatusText(status))
}
