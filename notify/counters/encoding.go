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

// decade returns the common prefix of the IDs of ten minutes or hours.
func decade(number int64) string { return fmt.Sprintf("%09d", number/10) }

// encode encodes counts as a row's value: the measure, name and label of each series, and its
// values without the zeros at the end.
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
	d := countDecoder{b: b[1:]}
	for len(d.b) > 0 && !d.failed {
		s := Series{Measure: Measure(d.bytes(1)[0]), Name: d.text(), Label: d.text()}
		var v values
		n := d.number()
		if n > uint64(width) {
			return errDamaged
		}
		for i := range v[:n] {
			v[i] = d.value()
		}
		if !d.failed {
			each(s, v.point())
		}
	}
	if d.failed {
		return errDamaged
	}
	return nil
}

// countDecoder reads encoded counts. After a failure it returns zeros.
type countDecoder struct {
	b      []byte
	failed bool
}

func (d *countDecoder) bytes(n uint64) []byte {
	if d.failed || n > uint64(len(d.b)) {
		d.failed = true
		return []byte{0}
	}
	read := d.b[:n]
	d.b = d.b[n:]
	return read
}

func (d *countDecoder) number() uint64 {
	n, size := binary.Uvarint(d.b)
	if d.bytes(uint64(max(size, 0))); size <= 0 {
		d.failed = true
		return 0
	}
	return n
}

func (d *countDecoder) value() int64 {
	n, size := binary.Varint(d.b)
	if d.bytes(uint64(max(size, 0))); size <= 0 {
		d.failed = true
		return 0
	}
	return n
}

func (d *countDecoder) text() string { return string(d.bytes(d.number())) }
