// Package docs tests README, the page of deploy/, the guides and the pages of the presets: it runs
// their commands, checks their files, and follows their links.
package docs
