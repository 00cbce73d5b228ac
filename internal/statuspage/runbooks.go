package statuspage

import (
	"bytes"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"sync"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"

	"github.com/deepaffects-monitor/deepaffects-monitor/docs"
)

// runbookPage is the page at /runbooks.
type runbookPage struct {
	Frame  frame
	Alerts []string // each has a section with its name as ID
	Text   template.HTML
}

func (s *site) runbooks(*http.Request) (any, int) {
	page := renderRunbooks()
	page.Frame = s.frame("Runbooks")
	page.Frame.Still = true
	return page, http.StatusOK
}

// renderRunbooks renders the embedded document. An error in it is found by the first test that requests the page.
var renderRunbooks = sync.OnceValue(func() (page runbookPage) {
	markdown := goldmark.New(
		goldmark.WithExtensions(extension.Table), goldmark.WithParserOptions(parser.WithAutoHeadingID()))
	document := markdown.Parser().Parse(text.NewReader(docs.Runbooks),
		parser.WithContext(parser.NewContext(parser.WithIDs(headingIDs{}))))
	ids := make(map[string]string) // by their form in links between sections, which GitHub reads, too
	for n := document.FirstChild(); n != nil; n = n.NextSibling() {
		if heading, ok := n.(*ast.Heading); ok {
			value, _ := heading.AttributeString("id")
			id := string(value.([]byte))
			ids["#"+strings.ToLower(id)] = id
			if strings.HasPrefix(id, "DeepAffects") {
				page.Alerts = append(page.Alerts, id)
			}
		}
	}
	_ = ast.Walk(document, func(n ast.Node, entering bool) (ast.WalkStatus, error) { // this visitor never fails
		if link, ok := n.(*ast.Link); ok && entering {
			if id, found := ids[string(link.Destination)]; found {
				link.Destination = []byte("#" + id)
			}
		}
		return ast.WalkContinue, nil
	})
	var html bytes.Buffer
	if err := markdown.Renderer().Render(&html, docs.Runbooks, document); err != nil {
		panic(fmt.Errorf("rendering the runbooks: %w", err)) // a buffer takes everything
	}
	page.Text = template.HTML(html.String())
	return page
})

// headingIDs makes the text of a heading its ID, so that the name of an alert is the anchor of its section.
type headingIDs struct{}

func (headingIDs) Generate(text []byte, _ ast.NodeKind) []byte {
	return bytes.ReplaceAll(bytes.TrimSpace(text), []byte(" "), []byte("-"))
}

func (headingIDs) Put([]byte) {}
