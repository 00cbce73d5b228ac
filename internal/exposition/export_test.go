package exposition

// A Family is a row of the catalogue, for the documentation.
type Family struct {
	Name, Type, Help         string
	Labels                   []Label
	PerJob, Basic, JobLabels bool
	Exemplars, PerAccount    bool
}

// A Label is a label, for the documentation.
type Label struct {
	Name    string
	Values  []string
	Meaning string
}

// A Group has the rows about one subject.
type Group struct {
	Title    string
	Families []Family
}

// Catalogue returns the catalogue.
func Catalogue() []Group {
	var groups []Group
	for _, g := range catalogue {
		shown := Group{Title: g.title}
		for _, f := range g.families {
			row := Family{
				Name: prefix + f.name, Type: string(f.kind), Help: f.help,
				PerJob: f.job != nil, Basic: f.basic, JobLabels: f.jobLabels, Exemplars: f.exemplars, PerAccount: f.account != nil,
			}
			for _, l := range f.labels {
				row.Labels = append(row.Labels, Label{l.name, l.values, l.meaning})
			}
			shown.Families = append(shown.Families, row)
		}
		groups = append(groups, shown)
	}
	return groups
}
