package harness

import (
	crypto "crypto/rand"
	"encoding/binary"
	"math/rand/v2"
)

// random makes bytes that do not compress: the same for the same seed, new ones for seed 0.
type random struct{ src *rand.ChaCha8 }

func newRandom(seed int64) random {
	var key [32]byte
	if seed == 0 {
		crypto.Read(key[:]) // never fails
	} else {
		binary.LittleEndian.PutUint64(key[:], uint64(seed))
	}
	return random{rand.NewChaCha8(key)}
}

func (r random) bytes(n int) []byte {
	b := make([]byte, n)
	r.src.Read(b) // never fails
	return b
}
