package report

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

// browser is a page in a real browser, and what the browser complained about.
type browser struct {
	context.Context
	mu         sync.Mutex
	complaints []string
}

// open shows a page in headless Chromium. Complaints fail the test when it ends.
func open(t *testing.T, content []byte) *browser {
	t.Helper()
	path := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	b := start(t)
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, complaint := range b.complaints {
			t.Error(complaint)
		}
	})
	b.do(t, chromedp.Navigate("file://"+path), chromedp.WaitReady(chromedp.CSS("#map[data-ready]")))
	return b
}

// program is Debian's browser, or the one that Ubuntu's runners have. Ubuntu's own package needs snapd.
func program(t *testing.T) string {
	t.Helper()
	const debian, other = "chromium", "google-chrome"
	if _, err := exec.LookPath(other); err == nil {
		return other
	}
	needs.Programs(t, debian)
	return debian
}

func start(t *testing.T) *browser {
	t.Helper()
	limited, cancelLimit := context.WithTimeout(t.Context(), 2*time.Minute)
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program(t)), chromedp.UserDataDir(t.TempDir()), chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // which it refuses to set up for root
	}
	allocator, cancelAllocator := chromedp.NewExecAllocator(limited, options...)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(func() { cancel(); cancelAllocator(); cancelLimit() })
	b := &browser{Context: ctx}
	if err := chromedp.Listen(ctx, b.listen); err != nil {
		t.Fatal(err)
	}
	b.do(t, call(network.Enable, network.EnableParams{}))
	return b
}

func (b *browser) listen(event any) {
	var complaint string
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		complaint = fmt.Sprint("exception: ", e.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		complaint = fmt.Sprintf("the console got a message of the type %s", e.Type)
	case *log.EventEntryAdded: // violations of the policy among them
		complaint = fmt.Sprintf("%s %s: %s", e.Entry.Source, e.Entry.Level, e.Entry.Text)
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(e.Request.URL, "file://") {
			complaint = "the page asked for " + e.Request.URL
		}
	}
	if complaint != "" {
		b.mu.Lock()
		b.complaints = append(b.complaints, complaint)
		b.mu.Unlock()
	}
}

func (b *browser) do(t *testing.T, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(b, actions...); err != nil {
		t.Fatal(err)
	}
}

// call is an action that sends a command of the protocol.
func call[P any](command cdp.Command[P, cdp.Empty], parameters P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, command, parameters)
		return err
	})
}

func click(selector string) chromedp.Action[chromedp.Void] {
	return chromedp.Click(chromedp.CSS(selector))
}

// eval returns what an expression gives as text.
func (b *browser) eval(t *testing.T, expression string) string {
	t.Helper()
	result, err := chromedp.Run(b, chromedp.Evaluate[string]("String("+expression+")"))
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func (b *browser) expect(t *testing.T, what, expression, want string) {
	t.Helper()
	if got := b.eval(t, expression); got != want {
		t.Errorf("%s: %s is %q; want %q", what, expression, got, want)
	}
}

// What the page shows, as expressions.
const (
	captionText = `document.getElementById('way').textContent`
	tileNames   = `[...document.querySelectorAll('#map > .tile > .label > b')].map(b => b.textContent).join(' ')`
	focused     = `document.activeElement.querySelector('b').textContent`
)

func examplePage(t *testing.T) []byte {
	t.Helper()
	last, this := releases()
	return render(t, this, earlier(last))
}

func TestBrowserZoomsByMouse(t *testing.T) {
	b := open(t, examplePage(t))
	const all = "All images by what each costs in /usr"
	b.expect(t, "before", captionText, all)
	b.expect(t, "before", tileNames, "shared-5d1f alpha same beta")

	b.do(t, click("#m1"))
	b.expect(t, "clicked", captionText, "All images › oem-alpha 4.0 MiB unpacked")
	b.expect(t, "clicked", tileNames, "bin/ share/x/<script>alert(1)</ lib/extension-release.d/")
	b.do(t, click("#map > .tile.dir"))
	b.expect(t, "clicked again", tileNames, "agent")
	b.expect(t, "clicked again", `document.querySelector("#map > .tile").ariaLabel`, "/usr/bin/agent, 4.0 MiB unpacked, 100.0 % of oem-alpha")

	b.do(t, chromedp.KeyEvent(kb.Escape), chromedp.KeyEvent(kb.Escape))
	b.expect(t, "escaped", captionText, all)
	b.expect(t, "escaped", focused, "alpha")
	b.do(t, chromedp.KeyEvent(kb.Escape))
	b.expect(t, "nothing left to leave", captionText, all)

	// The small picture of an image in the whole partition, too.
	b.do(t, chromedp.Evaluate[chromedp.Void](`document.getElementById('im0').click()`))
	b.expect(t, "clicked in the partition", captionText, "All images › oem-shared-5d1f 7.0 MiB unpacked")
	b.do(t, click("#way button"))
	b.expect(t, "breadcrumb", captionText, all)
}

func TestBrowserZoomsByKeyboard(t *testing.T) {
	b := open(t, examplePage(t))
	b.do(t, chromedp.Focus(chromedp.CSS("#m0")), chromedp.KeyEvent(kb.ArrowRight))
	b.expect(t, "arrow", focused, "alpha")
	b.expect(t, "arrow", `document.getElementById('readout').textContent`, "oem-alpha 1.2 MiB, 27.8 % of all images")
	b.do(t, chromedp.KeyEvent(kb.Enter))
	b.expect(t, "Enter", captionText, "All images › oem-alpha 4.0 MiB unpacked")
	b.expect(t, "Enter", `document.querySelectorAll('#map > [tabindex="0"]').length`, "1")
	b.do(t, chromedp.KeyEvent(kb.Escape))
	b.expect(t, "Escape", focused, "alpha")
}

// covered is how much of the map its tiles cover, and how many reach out of it.
const covered = `(() => {
	const map = document.getElementById('map').getBoundingClientRect();
	let area = 0, out = 0;
	for (const tile of document.querySelectorAll('#map > .tile')) {
		const r = tile.getBoundingClientRect();
		area += r.width * r.height;
		if (r.left < map.left - 1 || r.top < map.top - 1 || r.right > map.right + 1 || r.bottom > map.bottom + 1) out++;
	}
	return Math.round(100 * area / map.width / map.height) + ' % covered, ' + out + ' outside';
})()`

func TestBrowserOnPhone(t *testing.T) {
	b := open(t, examplePage(t))
	const overflowing = `[...document.querySelectorAll('body *')].filter(e => {
		const r = e.getBoundingClientRect();
		return r.right > innerWidth + 1 && r.width > 0 && !e.closest('svg, .tile, .axis');
	}).map(e => e.tagName + '.' + e.className).join(' ')`
	for _, width := range []int64{360, 390, 700, 1280} {
		b.do(t, chromedp.EmulateViewport(width, 800))
		b.expect(t, fmt.Sprint(width), `document.documentElement.scrollWidth - innerWidth`, "0")
		b.expect(t, fmt.Sprint(width), overflowing, "")
		b.expect(t, fmt.Sprint(width), covered, "100 % covered, 0 outside")
		b.do(t, chromedp.Evaluate[chromedp.Void](`document.getElementById('m1').click()`))
		b.expect(t, fmt.Sprint(width, ", zoomed"), covered, "100 % covered, 0 outside")
		b.do(t, chromedp.KeyEvent(kb.Escape))
	}
}

func TestBrowserPrintsAndShowsAllWithoutScript(t *testing.T) {
	b := open(t, examplePage(t))
	pdf, err := chromedp.Run(b, chromedp.PrintToPDF(chromedp.PDFPrintBackground()))
	if err != nil || !strings.HasPrefix(string(pdf), "%PDF-") || len(pdf) < 10_000 {
		t.Errorf("printing gave %d bytes, %v", len(pdf), err)
	}
	names := b.eval(t, tileNames)
	b.do(t, call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}), chromedp.Reload())
	b.expect(t, "without script", tileNames, names)
	b.expect(t, "without script", covered, "100 % covered, 0 outside")
}

func TestBrowserShowsColoursOfTheNight(t *testing.T) {
	b := open(t, examplePage(t))
	const background = `getComputedStyle(document.body).backgroundColor`
	b.expect(t, "day", background, "rgb(244, 245, 247)")
	b.do(t, call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}},
	}))
	b.expect(t, "night", background, "rgb(17, 20, 24)")
}

// lowContrast lists texts whose contrast with what is behind them is below 4.5 (WCAG 2.1, 1.4.3 and "contrast ratio"). The background is
// that of the nearest ancestor that has one; of a gradient, each colour.
const lowContrast = `(() => {
	const numbers = text => text.match(/[\d.]+/g).map(Number);
	const parse = text => {
		const n = numbers(text);
		const rgb = text.startsWith('color(') ? n.slice(0, 3) : n.slice(0, 3).map(v => v / 255);
		return {rgb, alpha: n.length > 3 ? n[3] : 1};
	};
	const over = (front, back) => front.rgb.map((v, i) => v * front.alpha + back[i] * (1 - front.alpha));
	const luminance = rgb => {
		const [r, g, b] = rgb.map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
		return .2126 * r + .7152 * g + .0722 * b;
	};
	const backgrounds = e => {
		if (!e) return [[1, 1, 1]];
		const style = getComputedStyle(e);
		const gradient = style.backgroundImage.match(/(rgba?|color)\([^()]*\)/g);
		if (gradient) return gradient.map(c => parse(c).rgb);
		const own = parse(style.backgroundColor);
		return own.alpha === 1 ? [own.rgb] : backgrounds(e.parentElement).map(back => over(own, back));
	};
	const opacity = e => e ? getComputedStyle(e).opacity * opacity(e.parentElement) : 1;
	const low = new Set();
	for (const e of document.querySelectorAll('body *')) {
		const text = [...e.childNodes].filter(n => n.nodeType === 3).map(n => n.data.trim()).join('');
		if (!text || e.closest('script') || !e.checkVisibility() || !e.getClientRects().length) continue;
		const front = parse(e.closest('svg') ? getComputedStyle(e).fill : getComputedStyle(e).color);
		front.alpha *= opacity(e);
		for (const back of backgrounds(e)) {
			const [a, b] = [luminance(over(front, back)), luminance(back)].sort((x, y) => y - x);
			const ratio = (a + .05) / (b + .05);
			if (ratio < 4.5) low.add(e.tagName + ' ' + text.slice(0, 20) + ' ' + ratio.toFixed(2));
		}
	}
	return [...low].join('; ');
})()`

func TestBrowserContrast(t *testing.T) {
	b := open(t, examplePage(t))
	for _, scheme := range []string{"light", "dark"} {
		b.do(t, call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		}), chromedp.Evaluate[chromedp.Void](`document.querySelectorAll('details').forEach(d => d.open = true)`))
		b.expect(t, scheme, lowContrast, "")
		b.do(t, click("#m1"))
		b.expect(t, scheme+", zoomed", lowContrast, "")
		b.do(t, chromedp.KeyEvent(kb.Escape))
	}
	b.do(t, chromedp.Evaluate[chromedp.Void](`document.querySelector('h1').style.opacity = .3`))
	if got := b.eval(t, lowContrast); !strings.Contains(got, "H1 4230.2.2 ") {
		t.Errorf("a faint heading is not noticed: %q", got)
	}
}

// TestBrowserFindsDigests says that a link to a digest opens the list that it is in, and that paper shows all of it.
func TestBrowserFindsDigests(t *testing.T) {
	b := open(t, examplePage(t))
	const shown = `document.querySelector('.digests').checkVisibility({contentVisibilityAuto: true})`
	b.expect(t, "folded", shown, "false")
	b.do(t, chromedp.Evaluate[chromedp.Void](`document.querySelector('.images td a').click()`))
	b.expect(t, "linked to", shown, "true")
	b.do(t, chromedp.Evaluate[chromedp.Void](`document.querySelector('#digests details').open = false`))
	b.do(t, call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"}))
	for range 50 { // content that was hidden is laid out when it is to be drawn
		if b.eval(t, shown) == "true" {
			return
		}
		b.do(t, chromedp.Sleep(100*time.Millisecond))
	}
	t.Error("digests are not printed")
}

// TestBrowserComplaints shows that the other tests would notice what they look for.
func TestBrowserComplaints(t *testing.T) {
	_, this := releases()
	broken := strings.Replace(string(render(t, this, []*manifest.Manifest{})), "</main>",
		`</main><i style="color:red"></i><img src="http://[::1]:9/x"><script>throw 1</script>`, 1)
	path := filepath.Join(t.TempDir(), "broken.html")
	if err := os.WriteFile(path, []byte(broken), 0o644); err != nil {
		t.Fatal(err)
	}
	b := start(t)
	b.do(t, chromedp.Navigate("file://"+path), chromedp.WaitReady(chromedp.CSS("footer")))
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, directive := range []string{"style-src", "script-src"} {
		if all := strings.Join(b.complaints, "\n"); !strings.Contains(all, directive) {
			t.Errorf("no complaint about %s in %q", directive, all)
		}
	}
}
