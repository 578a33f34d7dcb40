package store

const postgresVersion = 1 // of the tables

var postgresTables string
