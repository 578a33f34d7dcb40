package sqlite

import _ "embed"

const tablesVersion = 1 // of the tables

//go:embed tables.sql
var tables string
