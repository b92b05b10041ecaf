package release

import (
	"context"
	"os"

	"github.com/flatcar/oem-sysext/oem"
)

// Show makes one recipe's tree for the base and tells what it is made of and what was left out.
func Show(ctx context.Context, o Options, name string) (*oem.Explained, error) {
	r, err := oem.Recipe(os.DirFS(o.Checkout), name)
	if err != nil {
		return nil, err
	}
	w, err := openForImages(ctx, o)
	if err != nil {
		return nil, err
	}
	defer w.close()
	factory, err := w.factory(ctx)
	if err != nil {
		return nil, err
	}
	defer w.downloads.End()
	return factory.Explain(ctx, r)
}
