package counters

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const version = 1 // first byte of an encoded row

var errDamaged = errors.New("damaged counts")

// rowID is the beginning of a row's ID.
func rowID(number int64) string { return fmt.Sprintf("%010d", number) }

// decade is what the IDs of ten minutes or hours have in common.
func decade(number int64) string { return fmt.Sprintf("%09d", number/10) }

// encode writes counts as a row's value: for each series its kind, name and label, and the values
// up to the last that is not zero.
func encode(counts map[Series]Point) []byte {
	b := []byte{version}
	for s, p := range counts {
		v := p.values()
		n := len(v)
		for n > 0 && v[n-1] == 0 {
			n--
		}
		b = append(b, byte(s.Measure))
		b = appendText(appendText(b, s.Name), s.Label)
		b = binary.AppendUvarint(b, uint64(n))
		for _, value := range v[:n] {
			b = binary.AppendVarint(b, value)
		}
	}
	return b
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// decode calls each for every series of a row.
func decode(b []byte, each func(Series, Point)) error {
	if len(b) == 0 || b[0] != version {
		return errDamaged
	}
	in := input{b: b[1:]}
	for len(in.b) > 0 && !in.failed {
		s := Series{Measure: Measure(in.bytes(1)[0]), Name: in.text(), Label: in.text()}
		var v values
		n := in.number()
		if n > uint64(width) {
			return errDamaged
		}
		for i := range v[:n] {
			v[i] = in.value()
		}
		if !in.failed {
			each(s, v.point())
		}
	}
	if in.failed {
		return errDamaged
	}
	return nil
}

// input reads encoded counts. After a failure it reads zeros.
type input struct {
	b      []byte
	failed bool
}

func (in *input) bytes(n uint64) []byte {
	if in.failed || n > uint64(len(in.b)) {
		in.failed = true
		return []byte{0}
	}
	read := in.b[:n]
	in.b = in.b[n:]
	return read
}

func (in *input) number() uint64 {
	n, size := binary.Uvarint(in.b)
	if in.bytes(uint64(max(size, 0))); size <= 0 {
		in.failed = true
		return 0
	}
	return n
}

func (in *input) value() int64 {
	n, size := binary.Varint(in.b)
	if in.bytes(uint64(max(size, 0))); size <= 0 {
		in.failed = true
		return 0
	}
	return n
}

func (in *input) text() string { return string(in.bytes(in.number())) }
