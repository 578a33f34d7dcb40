package detect

// The limits of what a client chooses and bellbuoy keeps, in bytes. A request with a longer name is
// no operation (see Classify).
const (
	MaxRepository = 255
	MaxTag        = 128
	MaxDigest     = 160
	MaxHint       = 253  // ?ns=
	MaxTags       = 64   // ?tag=, a number
	MaxChart      = 255  // a chart's name or version
	MaxFile       = 1024 // a chart archive's file name or path
	MaxUserAgent  = 256
	MaxOperator   = 256
	MaxRequestID  = 128
	MaxManifest   = 4 << 20  // of a manifest that is read
	MaxIntent     = 16 << 10 // of an intent's row
)
