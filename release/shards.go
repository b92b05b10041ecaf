package release

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/arch"
	"github.com/flatcar/oem-sysext/oem/atomicfile"
	"github.com/flatcar/oem-sysext/oem/platform"
	"github.com/flatcar/oem-sysext/oem/recipe"
	"github.com/flatcar/oem-sysext/release/prove"
)

// A release that several machines make: one prepares the base, each of the others makes its part of the recipes, and one does the
// rest. What they made they find in remote caches, under the digests of what it was made from; nothing else goes from one to
// another. So who makes the release need not know what was made before: what is missing it makes itself, and the bytes are the same.

// Part is one of the parts that work is divided into.
type Part struct{ Number, Of int }

// ParsePart reads a part such as 2/4, the second of four.
func ParsePart(text string) (Part, error) {
	number, of, found := strings.Cut(text, "/")
	n, err := strconv.Atoi(number)
	all, other := strconv.Atoi(of)
	if !found || err != nil || other != nil || n < 1 || n > all {
		return Part{}, fmt.Errorf("%q; wanted a part such as 2/4", text)
	}
	return Part{n, all}, nil
}

func (p Part) String() string { return fmt.Sprintf("%d/%d", p.Number, p.Of) }

// share returns a part of a list. Neighbours go to different parts.
func share[T any](p Part, all []T) []T {
	var part []T
	for i := p.Number - 1; i < len(all); i += p.Of {
		part = append(part, all[i])
	}
	return part
}

// recipesToShare returns all recipes of platforms, those first that take long, so that no part has more of them than others.
func (w *workshop) recipesToShare() []*recipe.Recipe {
	recipes := oem.RecipesOf(w.chosen)
	slices.SortStableFunc(recipes, func(a, b *recipe.Recipe) int {
		if a.GoModule() != nil == (b.GoModule() != nil) {
			return strings.Compare(a.Name.Value, b.Name.Value)
		} else if a.GoModule() != nil {
			return -1
		}
		return 1
	})
	return recipes
}

// Prepare makes what all parts of the work need: the tool root and the base.
func Prepare(ctx context.Context, o Options) error {
	if err := o.writesRemotely(); err != nil {
		return err
	}
	w, err := open(ctx, o)
	if err != nil {
		return err
	}
	w.close()
	return nil
}

func (o Options) writesRemotely() error {
	if o.RemoteCacheWrite == "" {
		return errors.New("REMOTE_CACHE_WRITE is not set; wanted where the results go, a directory or an address")
	}
	return nil
}

// Shard makes the recipes of one part, and writes to out what that were.
func Shard(ctx context.Context, o Options, part Part, out io.Writer) error {
	if err := o.writesRemotely(); err != nil {
		return err
	}
	w, err := open(ctx, o)
	if err != nil {
		return err
	}
	defer w.close()
	factory, err := w.factory(ctx)
	if err != nil {
		return err
	}
	defer w.downloads.End()
	mine := share(part, w.recipesToShare())
	if _, err := factory.Recipes(ctx, mine); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "part %v of the recipes for %s: %s\n", part, w.Arch, recipeNames(mine))
	return err
}

func recipeNames(recipes []*recipe.Recipe) string {
	var all []string
	for _, r := range recipes {
		all = append(all, r.Name.Value)
	}
	return strings.Join(all, ", ")
}

// job is one of a matrix.
type job struct {
	Arch arch.Arch `json:"arch"`
	Part string    `json:"part"`
	What string    `json:"what"` // recipes or platforms, for people
}

// Matrix writes which jobs make a release of so many parts: as the outputs "build" and "prove" of a workflow's step where file is
// what GitHub's runners name in GITHUB_OUTPUT, and to out in any case. Each is a list for a matrix's include.
func Matrix(o Options, parts int, file string, out io.Writer) error {
	if parts < 1 {
		return fmt.Errorf("SHARDS=%d; wanted at least 1", parts)
	}
	w := &workshop{Options: o}
	if err := w.choosePlatforms(); err != nil {
		return err
	}
	var build, proof []job
	for n := range parts {
		part := Part{n + 1, parts}
		if mine := share(part, w.recipesToShare()); len(mine) > 0 {
			build = append(build, job{o.Arch, part.String(), recipeNames(mine)})
		}
		if mine := share(part, platformIDs(w.chosen)); len(mine) > 0 {
			proof = append(proof, job{o.Arch, part.String(), strings.Join(mine, ", ")})
		}
	}
	var lines strings.Builder
	for _, output := range []struct {
		name string
		jobs []job
	}{{"build", build}, {"prove", proof}} {
		encoded, err := json.Marshal(output.jobs)
		if err != nil {
			return err
		}
		fmt.Fprintf(&lines, "%s=%s\n", output.name, encoded)
	}
	if err := appendTo(file, lines.String()); err != nil {
		return err
	}
	_, err := io.WriteString(out, lines.String())
	return err
}

// appendTo adds text to a file that a runner reads after a step; there is none where it has no name.
func appendTo(file, text string) error {
	if file == "" {
		return nil
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, text)
	return errors.Join(err, f.Close())
}

// proofsDir is where parts of a proof lie until all are there, in the output directory.
const proofsDir = "proofs"

func (o Options) proofs() string {
	return filepath.Join(o.Output, proofsDir, orElse(o.Version, DefaultVersion), string(o.Arch))
}

// ProvePart is Prove for a part of the platforms. What it writes is for MergeProofs.
func ProvePart(ctx context.Context, o Options, part Part) (*prove.Proof, error) {
	proof, err := provePlatforms(ctx, o, func(all []*platform.Platform) []*platform.Platform { return share(part, all) })
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.proofs(), 0o755); err != nil {
		return nil, err
	}
	encoded, err := proof.Encode()
	if err != nil {
		return nil, err
	}
	return proof, atomicfile.WriteBytes(filepath.Join(o.proofs(), fmt.Sprintf("%d-of-%d.json", part.Number, part.Of)), 0o644, encoded)
}

// readProofs reads the parts of a proof that are there.
func (o Options) readProofs() ([]*prove.Proof, error) {
	paths, err := filepath.Glob(filepath.Join(o.proofs(), "*.json"))
	if err != nil {
		return nil, err
	}
	var parts []*prove.Proof
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		part, err := prove.Decode(content)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// MergeProofs makes the release's proof of those of its parts. Each platform must have been proven once, with the release's files.
func MergeProofs(o Options) (*prove.Proof, error) {
	parts, err := o.readProofs()
	if err != nil {
		return nil, err
	}
	r, err := prove.Open(o.Dir())
	if err != nil {
		return nil, err
	}
	var platforms []string
	for _, p := range r.Manifest.Platforms {
		if p.Placement.Embedded() {
			platforms = append(platforms, p.ID)
		}
	}
	whole, err := prove.Merge(r, platforms, parts)
	if err != nil {
		return nil, fmt.Errorf("proofs in %s: %w", o.proofs(), err)
	}
	return whole, writeProof(o.Dir(), proofFile, whole)
}
