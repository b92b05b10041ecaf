package gpt

import (
	"encoding/hex"
	"fmt"
)

// GUID is a globally unique identifier, its bytes in printed order. On the disk, the first three groups are little endian.
type GUID [16]byte

// ParseGUID reads 32 hexadecimal digits in groups of 8, 4, 4, 4 and 12.
func ParseGUID(text string) (GUID, error) {
	var id GUID
	digits := make([]byte, 0, 32)
	for i := range len(text) {
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (text[i] == '-') {
			break
		} else if !dash {
			digits = append(digits, text[i])
		}
	}
	if n, err := hex.Decode(id[:], digits); err != nil || n != len(id) || len(text) != 36 {
		return GUID{}, fmt.Errorf("%q is not a GUID; wanted one such as c12a7328-f81f-11d2-ba4b-00a0c93ec93b", text)
	}
	return id, nil
}

// MustGUID is ParseGUID for constants.
func MustGUID(text string) GUID {
	id, err := ParseGUID(text)
	if err != nil {
		panic(err)
	}
	return id
}

func (g GUID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", g[:4], g[4:6], g[6:8], g[8:10], g[10:])
}

// IsZero reports whether no bit is set, as in an unused entry's type.
func (g GUID) IsZero() bool { return g == GUID{} }

// swapped converts between on-disk and printed order.
func (g GUID) swapped() GUID {
	return GUID{g[3], g[2], g[1], g[0], g[5], g[4], g[7], g[6], g[8], g[9], g[10], g[11], g[12], g[13], g[14], g[15]}
}
