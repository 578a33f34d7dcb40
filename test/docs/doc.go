// Package docs tests README and the guides: it runs their commands, checks their files, and follows
// their links.
package docs
