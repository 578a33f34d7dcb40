package access

// Accounts holds the accounts of the configuration. Names are unique among users and among tokens.
type Accounts struct {
	Users  []User
	Tokens []Token
}

// User is a person, who logs in with a name and a password.
type User struct {
	Name     string
	Hash     string   // bcrypt hash of the password
	Projects []string // globs; none: no limits
}

// Token is the account of a program, which sends it as a bearer token.
type Token struct {
	Name     string
	Secret   string
	Projects []string // globs; none: no limits
}

// limitedTo returns the account of a user or token. Without projects it has no limits.
func limitedTo(name string, projects []string) Principal {
	return Principal{Name: name, Administrator: len(projects) == 0, Projects: projects}
}
