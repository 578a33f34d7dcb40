package proxy

import (
	"github.com/bellbuoy/bellbuoy/detect/track"
	"github.com/bellbuoy/bellbuoy/proxy/upstream"
)

var (
	_ Tracker = (*track.Tracker)(nil)
	_ Asker   = (*upstream.Client)(nil)
)
