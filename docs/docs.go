// Package docs embeds the documents that the programs serve.
package docs

import _ "embed"

// Runbooks is runbooks.md: what to do about each alert, in Markdown.
//
//go:embed runbooks.md
var Runbooks []byte
