package main

import (
	"fmt"
	"io"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/bellbuoy/bellbuoy/config"
)

// logSettings are the settings of all loggers that a reload can change.
type logSettings struct {
	level   zap.AtomicLevel
	console atomic.Bool // lines for people instead of JSON
}

// apply makes the settings those of c, which config has checked.
func (s *logSettings) apply(c config.Log) error {
	s.console.Store(c.Format == "console")
	if err := s.level.UnmarshalText([]byte(c.Level)); err != nil {
		return fmt.Errorf("log.level: %w", err)
	}
	return nil
}

// newLogger returns a logger that writes to w.
func newLogger(c config.Log, w io.Writer) (*zap.Logger, *logSettings, error) {
	settings := &logSettings{level: zap.NewAtomicLevel()}
	if err := settings.apply(c); err != nil {
		return nil, nil, err
	}
	encoding := zap.NewProductionEncoderConfig()
	encoding.TimeKey, encoding.MessageKey = "time", "message"
	encoding.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	encoding.EncodeDuration = zapcore.StringDurationEncoder
	inJSON := zapcore.NewJSONEncoder(encoding)
	encoding.EncodeLevel = zapcore.CapitalLevelEncoder
	out := zapcore.Lock(zapcore.AddSync(w))
	return zap.New(&logCore{
		settings: settings,
		json:     zapcore.NewCore(inJSON, out, settings.level),
		console:  zapcore.NewCore(zapcore.NewConsoleEncoder(encoding), out, settings.level),
	}), settings, nil
}

// logCore writes each entry in the current format.
type logCore struct {
	settings      *logSettings
	json, console zapcore.Core
}

func (c *logCore) current() zapcore.Core {
	if c.settings.console.Load() {
		return c.console
	}
	return c.json
}

// Enabled implements zapcore.Core.
func (c *logCore) Enabled(l zapcore.Level) bool { return c.settings.level.Enabled(l) }

// With implements zapcore.Core.
func (c *logCore) With(fields []zapcore.Field) zapcore.Core {
	return &logCore{settings: c.settings, json: c.json.With(fields), console: c.console.With(fields)}
}

// Check implements zapcore.Core.
func (c *logCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return c.current().Check(e, checked)
}

// Write implements zapcore.Core.
func (c *logCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	return c.current().Write(e, fields)
}

// Sync implements zapcore.Core.
func (c *logCore) Sync() error { return c.current().Sync() }
