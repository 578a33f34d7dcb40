package console

// The choices of the webhook's form.
func notifyTypes() []string { return []string{"http", "slack", "teams", "discord"} }

func yesNo(yes, no string) []option { return []option{{"", "either"}, {"true", yes}, {"false", no}} }

func options(first string, values ...string) []option {
	all := []option{{"", first}}
	for _, v := range values {
		all = append(all, option{v, v})
	}
	return all
}

func severities() []option {
	return options("any", "Unknown", "Negligible", "Low", "Medium", "High", "Critical")
}

func orders() []option    { return options("default (tag)", "tag", "repository", "none") }
func overtaken() []option { return options("default (deliver)", "deliver", "drop") }
func modes() []option     { return options("default (structured)", "structured", "binary") }
func specs() []option     { return options("default (0.4.1)", "0.4.1", "0.5.1") }

func kinds() []string {
	return []string{"image", "index", "chart", "signature", "attestation", "sbom", "referrer", "other"}
}

// samples are the types of events that a test can send.
func samples() []option { return typeOptions()[1:] }
