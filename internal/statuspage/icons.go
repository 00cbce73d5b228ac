package statuspage

import (
	"html/template"
	"net/url"
	"strings"
)

// An icon shows a state by its shape, for those who do not see its colour. Its drawing is 16 units wide and high, and
// has two colours: currentColor and var(--paper).
type icon struct {
	Name    string
	Drawing template.HTML
}

// disc is a filled circle, on which a mark is drawn.
const disc = `<circle cx="8" cy="8" r="7.5" fill="currentColor"/>`

// mark returns a drawing with a line on it, in the colour of the paper.
func mark(on, line string) template.HTML {
	return template.HTML(on + `<path fill="none" stroke="var(--paper)" stroke-width="2" d="` + line + `"/>`)
}

const (
	check    = "M4.2 8.4 7 11.1l4.9-5.6"
	cross    = "m5 5 6 6m0-6-6 6"
	dash     = "M4.2 8h7.6"
	stopped  = "M6.2 4.8v6.4m3.6-6.4v6.4"
	arrow    = "M4 8h7.4M8.2 4.8 11.4 8l-3.2 3.2"
	warning  = "M8 5.2v4.3m0 1.6v2"
	triangle = `<path fill="currentColor" d="M8 .6 15.8 15H.2z"/>`
)

// icons are those of the states of a job, and of the levels.
var icons = []icon{
	{"completed", mark(disc, check)},
	{"failed", mark(disc, cross)},
	{"lost", mark(disc, dash)},
	{"running", `<circle cx="8" cy="8" r="6.5" fill="none" stroke="currentColor" stroke-width="2"/>` +
		`<path fill="currentColor" d="M8 4a4 4 0 0 1 0 8z"/>`},
	{"pending", `<circle cx="8" cy="8" r="6.5" fill="none" stroke="currentColor" stroke-width="2" ` +
		`stroke-dasharray="2.9 2.2"/>`},
	{string(good), mark(disc, check)},
	{string(warn), mark(triangle, warning)},
	{string(bad), mark(disc, cross)},
	{string(paused), mark(disc, stopped)},
	{string(elsewhere), mark(disc, arrow)},
	{string(idle), `<circle cx="8" cy="8" r="6.5" fill="none" stroke="currentColor" stroke-width="2"/>`},
}

// colours are those of the style, on a tab of any colour.
var colours = map[string]string{
	"completed": "#1a8f4a", "failed": "#d92d20", "lost": "#9b51c9", "running": "#2f7de1",
	string(good): "#1a8f4a", string(warn): "#c77700", string(bad): "#d92d20", string(paused): "#c77700",
}

// favicon returns the icon of that name as a data URL.
func favicon(name string) template.URL {
	for _, i := range icons {
		if i.Name == name {
			colour, found := colours[name]
			if !found {
				colour = "#7a8691"
			}
			drawing := strings.NewReplacer("currentColor", colour, "var(--paper)", "#fff").Replace(string(i.Drawing))
			svg := `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">` + drawing + `</svg>`
			return template.URL("data:image/svg+xml," + url.PathEscape(svg))
		}
	}
	return "data:,"
}
