// Package ci is what workflows do beside the targets that people call: one release made and proven on several machines, keys,
// versions, the issue of a failed night, and pull requests for newer versions.
package ci

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/prove"
	"github.com/flatcar/oem-sysext/release/prove/proof"
	"github.com/flatcar/oem-sysext/release/setup"
	"github.com/flatcar/oem-sysext/release/ship/verify"
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
func recipesToShare(platforms []*platform.Platform) []*recipe.Recipe {
	recipes := oem.RecipesOf(platforms)
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
func Prepare(ctx context.Context, o setup.Options) error {
	if err := writesRemotely(o); err != nil {
		return err
	}
	r, err := release.OpenForImages(ctx, o)
	if err != nil {
		return err
	}
	r.Bench.Close()
	return nil
}

func writesRemotely(o setup.Options) error {
	if o.RemoteCacheWrite == "" {
		return errors.New("REMOTE_CACHE_WRITE is not set; wanted where the results go, a directory or an address")
	}
	return nil
}

// Shard builds the recipes of one part and lists them on out.
func Shard(ctx context.Context, o setup.Options, part Part, out io.Writer) error {
	if err := writesRemotely(o); err != nil {
		return err
	}
	r, err := release.OpenForImages(ctx, o)
	if err != nil {
		return err
	}
	defer r.Bench.Close()
	factory, err := r.Factory()
	if err != nil {
		return err
	}
	defer r.Bench.Downloads.End()
	mine := share(part, recipesToShare(r.Choice.Chosen))
	if _, err := factory.Recipes(ctx, mine); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "part %v of the recipes for %s: %s\n", part, o.Arch, strings.Join(recipeNames(mine), ", "))
	return err
}

func recipeNames(recipes []*recipe.Recipe) []string {
	names := make([]string, len(recipes))
	for i, r := range recipes {
		names[i] = r.Name.Value
	}
	return names
}

// job is one of a matrix.
type job struct {
	Arch arch.Arch `json:"arch"`
	Part string    `json:"part"`
	What string    `json:"what"` // recipes or platforms, for people
}

// Matrix writes which jobs make a release of so many parts, and the images of all architectures: as the outputs "build", "images" and
// "prove" of a workflow's step, and to out. Each is a list for
// a matrix's include. A release is made and proven for the architecture that was chosen; for others there are images only, which
// "images" makes of what "build" made.
func Matrix(o setup.Options, out io.Writer) error {
	parts := int(o.GitHub.Shards)
	choice, err := setup.Choose(o)
	if err != nil {
		return err
	}
	build, images, machines := []job{}, []job{}, jobs(o.Arch, parts, setup.PlatformIDs(choice.Chosen))
	for _, a := range arch.All {
		platforms := slices.DeleteFunc(slices.Clone(choice.Catalogue), func(p *platform.Platform) bool {
			return !p.Supports(a) || !choice.Wants(p.ID.Value)
		})
		build = append(build, jobs(a, parts, recipeNames(recipesToShare(platforms)))...)
		if a != o.Arch {
			images = append(images, jobs(a, 1, setup.PlatformIDs(platforms))...)
		}
	}
	var lines strings.Builder
	for _, output := range []struct {
		name string
		jobs []job
	}{{"build", build}, {"images", images}, {"prove", machines}} {
		encoded, err := json.Marshal(output.jobs)
		if err != nil {
			return err
		}
		fmt.Fprintf(&lines, "%s=%s\n", output.name, encoded)
	}
	if err := appendTo(o.GitHub.StepOutput, lines.String()); err != nil {
		return err
	}
	_, err = io.WriteString(out, lines.String())
	return err
}

// jobs divides what there is to do. Parts without anything are left out.
func jobs(a arch.Arch, parts int, all []string) (divided []job) {
	for n := range parts {
		part := Part{n + 1, parts}
		if mine := share(part, all); len(mine) > 0 {
			divided = append(divided, job{a, part.String(), strings.Join(mine, ", ")})
		}
	}
	return divided
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

func proofs(o setup.Options) string {
	return filepath.Join(o.Output, proofsDir, cmp.Or(o.Version, setup.DefaultVersion), string(o.Arch))
}

// ProvePart is Prove for a part of the platforms. What it writes is for MergeProofs.
func ProvePart(ctx context.Context, o setup.Options, part Part) (*proof.Proof, error) {
	proven, err := prove.Some(ctx, o, func(all []*platform.Platform) []*platform.Platform { return share(part, all) })
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(proofs(o), 0o755); err != nil {
		return nil, err
	}
	encoded, err := proven.Encode()
	if err != nil {
		return nil, err
	}
	return proven, atomicfile.WriteBytes(filepath.Join(proofs(o), fmt.Sprintf("%d-of-%d.json", part.Number, part.Of)), 0o644, encoded)
}

// readProofs reads the parts of a proof that are there.
func readProofs(o setup.Options) ([]*proof.Proof, error) {
	paths, err := filepath.Glob(filepath.Join(proofs(o), "*.json"))
	if err != nil {
		return nil, err
	}
	var parts []*proof.Proof
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		part, err := proof.Decode(content)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// MergeProofs makes the release's proof of those of its parts. Each platform must have been proven once, with the release's files.
// A proof that another job has made in one part is added as it is.
func MergeProofs(o setup.Options) (*proof.Proof, error) {
	parts, err := readProofs(o)
	if err != nil {
		return nil, err
	}
	r, err := proof.OpenRelease(o.Dir())
	if err != nil {
		return nil, err
	}
	var platforms []string
	for _, p := range r.Manifest.Platforms {
		if p.Placement.Embedded() {
			platforms = append(platforms, p.ID)
		}
	}
	whole, err := proof.Merge(r, platforms, parts)
	if err != nil {
		return nil, fmt.Errorf("proofs in %s: %w", proofs(o), err)
	}
	if err := proof.Write(o.Dir(), verify.ProofName, whole); err != nil {
		return nil, err
	}
	return whole, addWholeProofs(o)
}

// addWholeProofs adds the proofs that lie beside the parts, under the names that they have in a release.
func addWholeProofs(o setup.Options) error {
	for _, kind := range verify.Proofs {
		path := filepath.Join(o.Output, proofsDir, kind.Name)
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		p, err := proof.Decode(content)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := proof.Write(o.Dir(), kind.Name, p); err != nil {
			return err
		}
	}
	return nil
}
