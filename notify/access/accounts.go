package access

// Accounts are those of the configuration. Names are unique among users and among tokens.
type Accounts struct {
	Users  []User
	Tokens []Token
}

// User is a person, who logs in with a name and a password.
type User struct {
	Name     string
	Hash     string   // of the password, by bcrypt
	Projects []string // globs; none: no limits
}

// Token is a program's.
type Token struct {
	Name     string
	Secret   string
	Projects []string // globs; none: no limits
}

// limitedTo is an account of the configuration: without projects it has no limits.
func limitedTo(name string, projects []string) Principal {
	return Principal{Name: name, Administrator: len(projects) == 0, Projects: projects}
}
