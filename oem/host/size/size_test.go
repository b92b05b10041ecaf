package size

import "testing"

func TestParse(t *testing.T) {
	for text, want := range map[string]Bytes{
		"0": 0, "512 B": 512, "24 MiB": 24 * MiB, "1GiB": GiB, "3 KiB": 3072,
	} {
		got, err := Parse(text)
		if err != nil || got != want {
			t.Errorf("Parse(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{"", "MiB", "-1", "20", "1048576", "1.5 MiB", "10 MB", "24 mib", "9223372036854775807 KiB", "99999999999999999999"} {
		if got, err := Parse(text); err == nil {
			t.Errorf("Parse(%q) = %d; want an error", text, got)
		}
	}
}

func TestString(t *testing.T) {
	for b, want := range map[Bytes]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 25 * MiB: "25.0 MiB", 1536 * MiB: "1.5 GiB", -2 * MiB: "-2.0 MiB",
	} {
		if got := b.String(); got != want {
			t.Errorf("Bytes(%d) prints %q; want %q", int64(b), got, want)
		}
	}
}
