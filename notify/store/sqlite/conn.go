package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/bellbuoy/bellbuoy/notify/store/engine"
)

// conn is one SQLite connection with its prepared statements. It uses the driver directly: the pool
// of database/sql brings one writer nothing, and costs a third of the time of a statement. One
// goroutine may use a conn at a time.
type conn struct {
	c     driver.Conn
	stmts map[string]driver.Stmt
	args  []driver.NamedValue
}

// preparedMax bounds the prepared statements. With more (filters of the console), the cache is
// emptied.
const preparedMax = 200

func openConn(dsn string) (*conn, error) {
	c, err := new(sqlite.Driver).Open(dsn)
	if err != nil {
		return nil, err
	}
	return &conn{c: c, stmts: make(map[string]driver.Stmt)}, nil
}

func (c *conn) Close() error {
	c.forget()
	return c.c.Close()
}

func (c *conn) forget() {
	for _, s := range c.stmts {
		s.Close()
	}
	clear(c.stmts)
}

func (c *conn) prepare(sql string) (driver.Stmt, error) {
	if s, ok := c.stmts[sql]; ok {
		return s, nil
	}
	if len(c.stmts) >= preparedMax {
		c.forget()
	}
	s, err := c.c.Prepare(sql)
	if err != nil {
		return nil, err
	}
	c.stmts[sql] = s
	return s, nil
}

func (c *conn) bind(args []any) ([]driver.NamedValue, error) {
	c.args = c.args[:0]
	for i, a := range args {
		v, err := value(a)
		if err != nil {
			return nil, err
		}
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: v})
	}
	return c.args, nil
}

func value(a any) (driver.Value, error) {
	switch a := a.(type) {
	case nil, int64, string, float64:
		return a, nil
	case []byte:
		if a == nil {
			return []byte{}, nil
		}
		return a, nil
	case int:
		return int64(a), nil
	case bool:
		if a {
			return int64(1), nil
		}
		return int64(0), nil
	}
	return nil, fmt.Errorf("an argument of type %T", a)
}

// Exec runs one statement; ctx does not interrupt it.
func (c *conn) Exec(sql string, args ...any) (int64, error) {
	s, err := c.prepare(sql)
	if err != nil {
		return 0, err
	}
	values, err := c.bind(args)
	if err != nil {
		return 0, err
	}
	r, err := s.(driver.StmtExecContext).ExecContext(context.Background(), values)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func (c *conn) Query(ctx context.Context, sql string, args []any, each func(engine.Scanner) error) (err error) {
	s, err := c.prepare(sql)
	if err != nil {
		return err
	}
	values, err := c.bind(args)
	if err != nil {
		return err
	}
	rows, err := s.(driver.StmtQueryContext).QueryContext(ctx, values)
	if err != nil {
		return err
	}
	defer func() {
		if e := rows.Close(); err == nil {
			err = e
		}
	}()
	row := make(liteRow, len(rows.Columns()))
	for {
		switch err := rows.Next(row); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := each(row); err != nil {
			if errors.Is(err, engine.ErrStop) {
				err = nil
			}
			return err
		}
	}
}

// liteRow is a row of the driver.
type liteRow []driver.Value

func (r liteRow) Scan(dest ...any) error {
	if len(dest) > len(r) {
		return fmt.Errorf("%d columns where %d are wanted", len(r), len(dest))
	}
	for i, d := range dest {
		if !assign(d, r[i]) {
			return fmt.Errorf("column %d holds a %T where a %T is wanted", i+1, r[i], d)
		}
	}
	return nil
}

func assign(dest any, v driver.Value) bool {
	switch d := dest.(type) {
	case *int64:
		n, ok := v.(int64)
		*d = n
		return ok
	case *int:
		n, ok := v.(int64)
		*d = int(n)
		return ok
	case *string:
		switch v := v.(type) {
		case string:
			*d = v
			return true
		case []byte:
			*d = string(v)
			return true
		}
	case *[]byte:
		switch v := v.(type) {
		case []byte:
			*d = v
			return true
		case string:
			*d = []byte(v)
			return true
		case nil:
			*d = nil
			return true
		}
	}
	return false
}

// code returns the primary SQLite result code of err, or 0.
func code(err error) int {
	var e interface { // *sqlite.Error
		error
		Code() int
	}
	if errors.As(err, &e) {
		return e.Code() & 0xFF
	}
	return 0
}

func isCorrupt(err error) bool {
	c := code(err)
	return errors.Is(err, errCheck) || c == sqlite3.SQLITE_CORRUPT || c == sqlite3.SQLITE_NOTADB
}
