package notify

// mostAlternatives bounds what the braces of one glob stand for.
const mostAlternatives = 64

// alternatives returns the globs without braces that a glob stands for: {a,b}/* is a/* and b/*. ok
// is false if there are more than mostAlternatives. A matcher that tries the alternatives in place
// takes exponential time, and webhooks are matched while a push waits.
func alternatives(pattern string) (all []string, ok bool) {
	todo := []string{pattern}
	for len(todo) > 0 {
		p := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		open, commas, end := firstBraces(p)
		if end < 0 {
			all = append(all, p)
		} else {
			from := open + 1
			for _, to := range append(commas, end) {
				todo = append(todo, p[:open]+p[from:to]+p[end+1:])
				from = to + 1
			}
		}
		if len(all)+len(todo) > mostAlternatives {
			return nil, false
		}
	}
	return all, true
}

// CountGlobs returns how many globs without braces a match has.
func CountGlobs(m Match) (n int) {
	for _, list := range [][]string{m.Projects, m.Repositories, m.Tags, m.Operators, m.UserAgents} {
		for _, p := range list {
			all, ok := alternatives(p)
			if !ok {
				n += mostAlternatives
			}
			n += len(all)
		}
	}
	return n
}

// firstBraces returns where the first braces of a glob open and end, and their own commas. end is
// negative if there are none.
func firstBraces(p string) (open int, commas []int, end int) {
	depth := 0
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case '\\':
			i++
		case '[':
			i = classEnd(p, i)
		case '{':
			if depth++; depth == 1 {
				open = i
			}
		case ',':
			if depth == 1 {
				commas = append(commas, i)
			}
		case '}':
			if depth--; depth == 0 {
				return open, commas, i
			}
		}
	}
	return 0, nil, -1
}

// classEnd returns where a class of characters ends that begins at i.
func classEnd(p string, i int) int {
	for i++; i < len(p) && p[i] != ']'; i++ {
		if p[i] == '\\' {
			i++
		}
	}
	return i
}
