package testreaders

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/release/format/verity"
)

// verityFormat is of data with its hashes behind it, in two levels.
func verityFormat(t *testing.T) format {
	const blocks = 130
	made := script(t, fmt.Sprintf(`seq 200000 | head -c %d >out
veritysetup format --salt=%s --uuid=11111111-2222-3333-4444-555555555555 --hash-offset=%d out out | sed -n 's/^Root hash:[[:space:]]*//p' | tr -d '\n' >>out`, blocks*4096, "00112233", blocks*4096))
	root, err := digest.Parse(string(made[len(made)-64:]))
	if err != nil {
		t.Fatal(err)
	}
	sound := []input{{"veritysetup", made[:len(made)-64]}}
	return format{
		sound: sound,
		mutants: func(longer int) []input {
			in, at := sound[0], blocks*4096
			fields := []field{{"signature", at, 8}, {"version", at + 8, 4}, {"hash type", at + 12, 4}, {"uuid", at + 16, 8}, {"hash name", at + 32, 8}, {"hash name behind its end", at + 40, 8}, {"data block size", at + 64, 4}, {"hash block size", at + 68, 4}, {"data blocks", at + 72, 8}, {"salt size", at + 80, 2}, {"padding", at + 82, 6}, {"salt", at + 88, 4}, {"salt behind its end", at + 92, 4}, {"padding", at + 344, 8}, {"behind the superblock", at + 512, 8}, {"top", at + 4096, 8}, {"behind the top's digests", at + 4096 + 64, 8}, {"first block of level 0", at + 8192, 8}, {"behind the last digests", at + 12288 + 64, 8}, {"data", 4096, 8}, {"last data", at - 8, 8}}
			flips := flipped(input{in.name + ", hashes", in.content[at:]}, 60*longer)
			for i := range flips {
				flips[i].content = slices.Concat(in.content[:at], flips[i].content)
			}
			return slices.Concat(numbers(in, nil, fields...), followed(in), flips, flipped(in, 20*longer), parts(in, 4096, at, at+512, at+4096, at+8192, at+12288),
				texts(in, 0, nil, []field{{"hash name", at + 32, 32}}, "sha256", "SHA256", "sha1", "sha512", "", "sha256x", "sha25"))
		},
		ours: func(ctx context.Context, file, _ string) ([]string, error) {
			in, err := os.Open(file)
			if err != nil {
				return nil, err
			}
			defer in.Close()
			return nil, verity.Verify(ctx, in, in, blocks*4096, root)
		},
		theirs: []tool{{name: "veritysetup", script: fmt.Sprintf(`veritysetup verify --hash-offset=%d "$1" "$1" %v`, blocks*4096, root), read: func(string, string) []string { return nil }}},
	}
}
