package testreaders

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/archive"
	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// compressedFormat is a compression with the program of that name, which makes the sound inputs, too.
func compressedFormat(program, magic string, options ...string) func(t *testing.T) format {
	return func(t *testing.T) format {
		var sound []input
		for _, o := range options {
			sound = append(sound, input{program + o, script(t, `for i in $(seq 300); do echo "line $i of a text"; done | `+program+" "+o+" >out")},
				input{program + o + " of nothing", script(t, program+" "+o+" </dev/null >out")})
		}
		return format{
			sound: sound,
			mutants: func(longer int) (all []input) {
				for _, in := range sound {
					all = slices.Concat(all, followed(in), flipped(in, 60*longer))
					var places []int
					for at := range min(40, len(in.content)) {
						places = append(places, at, len(in.content)-at)
						all = append(all, numbers(in, nil, field{"a byte", at, 1}, field{"a byte", len(in.content) - 1 - at, 1})...)
					}
					all = append(all, parts(in, places...)...)
					all = append(all, in.with("another stream follows", in.content, sound[0].content), in.with("zeros and another stream follow", in.content, make([]byte, 4), sound[0].content), in.with("zeros follow", in.content, make([]byte, 8)))
				}
				return all
			},
			ours: func(_ context.Context, file, _ string) ([]string, error) {
				content, err := os.ReadFile(file)
				if err != nil {
					return nil, err
				}
				if !bytes.HasPrefix(content, []byte(magic)) {
					return nil, errors.New("plain content") // or of another compression
				}
				plain, err := archive.Decompress(bytes.NewReader(content))
				if err != nil {
					return nil, err
				}
				defer plain.Close()
				sum, n, err := digest.OfReader(plain)
				return []string{fmt.Sprintf("%d %v", n, sum)}, err
			},
			theirs: []tool{{
				name: program, script: program + ` -dc <"$1" >plain && echo "$(stat -c %s plain) $(sha256sum <plain | cut -c 1-64)"`, read: said,
			}},
		}
	}
}
