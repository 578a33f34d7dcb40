package store

const sqliteVersion = 1 // of the tables

var sqliteTables string
