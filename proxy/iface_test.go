package proxy

import (
	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/proxy/upstream"
)

var (
	_ Tracker = (*detect.Tracker)(nil)
	_ Asker   = (*upstream.Client)(nil)
)
