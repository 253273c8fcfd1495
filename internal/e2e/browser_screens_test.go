package e2e

import (
	"bytes"
	"cmp"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// screens is the folder that “make screens” wants pictures in.
var screens = os.Getenv("TAILMARKET_SCREENS")

// pictured are the pages whose pictures docs/screens keeps.
var pictured = []string{
	"claim-aws", "claim-gcp", "claim-azure", "waiting-aws", "ready-azure", "key-gcp",
	"overview", "purchases", "story", "hours", "units", "channels", "quarantine",
}

// tallest is how much of a long page a picture shows.
var tallest = map[int64]float64{1280: 1200, 390: 1500}

// shoot takes a picture of a page.
func (p *tab) shoot(name string, l look) {
	p.t.Helper()
	if screens == "" || !slices.Contains(pictured, name) {
		return
	}
	p.comes("the last of its images", "Array.from(document.images).every(i => i.complete)")
	high := min(tallest[l.width], ask[float64](p, "document.documentElement.scrollHeight"))
	got, err := chromedp.Call(p.ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{
		CaptureBeyondViewport: new(true), Clip: &page.Viewport{Width: float64(l.width), Height: high, Scale: 1},
	})
	p.ok("take a picture", err)
	small, err := smaller(got.Data)
	p.ok("make a picture small", err)
	p.ok("keep a picture", os.WriteFile(filepath.Join(screens, name+"-"+l.name+".png"), small, 0o644))
}

// smaller is a picture with its 256 commonest colours. Pages have few; what is lost are
// shades at the edges of letters.
func smaller(raw []byte) ([]byte, error) {
	full, err := png.Decode(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	counts := map[color.RGBA]int{}
	for y := full.Bounds().Min.Y; y < full.Bounds().Max.Y; y++ {
		for x := full.Bounds().Min.X; x < full.Bounds().Max.X; x++ {
			counts[color.RGBAModel.Convert(full.At(x, y)).(color.RGBA)]++
		}
	}
	var palette color.Palette
	for c := range counts {
		palette = append(palette, c)
	}
	slices.SortFunc(palette, func(a, b color.Color) int {
		x, y := a.(color.RGBA), b.(color.RGBA)
		return cmp.Or(counts[y]-counts[x], cmp.Compare(x.R, y.R), cmp.Compare(x.G, y.G), cmp.Compare(x.B, y.B))
	})
	few := image.NewPaletted(full.Bounds(), palette[:min(256, len(palette))])
	draw.Draw(few, few.Bounds(), full, full.Bounds().Min, draw.Src)
	var out bytes.Buffer
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, few)
	return out.Bytes(), err
}

func TestAPictureKeepsItsColours(t *testing.T) {
	t.Parallel()
	full := image.NewRGBA(image.Rect(0, 0, 40, 20)) // 800 colours, most of them once
	for i := range 800 {
		full.SetRGBA(i%40, i/40, color.RGBA{uint8(i / 4), uint8(i % 4), 0, 255})
	}
	for i := range 40 {
		full.SetRGBA(i, 7, color.RGBA{10, 20, 200, 255})
	}
	var raw bytes.Buffer
	if err := png.Encode(&raw, full); err != nil {
		t.Fatal(err)
	}
	small, err := smaller(raw.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	got, err := png.Decode(bytes.NewReader(small))
	if err != nil || got.Bounds() != full.Bounds() {
		t.Fatalf("%v, %v", got.Bounds(), err)
	}
	if c := color.RGBAModel.Convert(got.At(3, 7)); c != (color.RGBA{10, 20, 200, 255}) {
		t.Errorf("a common colour became %v", c)
	}
}
