// lib/pq through database/sql: queries, prepared statements, COPY, listener, cancel by context, its URL with options.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/lib/pq"
)

func describe(err error) string {
	if e, ok := err.(*pq.Error); ok {
		return fmt.Sprintf("%s|%s|%s|%s|%s|%s|%s|%s|%s|%s|%s|%s|%s", e.Severity, e.Code, e.Message, e.Detail, e.Hint, e.Position, e.Where, e.Schema, e.Table, e.Column, e.Constraint, e.File, e.Routine)
	}
	return "error " + err.Error()
}

func step(label string, work func() (interface{}, error)) {
	value, err := work()
	if err != nil {
		fmt.Println(label+":", describe(err))
		return
	}
	text := fmt.Sprintf("%v", value)
	if len(text) > 4000 {
		text = fmt.Sprintf("%s… %d", text[:200], len(text))
	}
	fmt.Println(label+":", text)
}

type querier interface {
	Query(string, ...interface{}) (*sql.Rows, error)
}

func all(q querier, text string, args ...interface{}) (interface{}, error) {
	rows, err := q.Query(text, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	types, _ := rows.ColumnTypes()
	out := []string{}
	for _, t := range types {
		out = append(out, t.Name()+":"+t.DatabaseTypeName())
	}
	for {
		for rows.Next() {
			values := make([]interface{}, len(types))
			for i := range values {
				values[i] = new(interface{})
			}
			if err := rows.Scan(values...); err != nil {
				return nil, err
			}
			line := []string{}
			for _, v := range values {
				line = append(line, fmt.Sprintf("%v", *v.(*interface{})))
			}
			out = append(out, strings.Join(line, ","))
		}
		if !rows.NextResultSet() {
			break
		}
	}
	return out, rows.Err()
}

func main() {
	mode := "disable"
	if os.Getenv("DRIVERS_TLS") != "" {
		mode = "require"
	}
	base := fmt.Sprintf("postgres://%s:%s@%s:%s/drivers?sslmode=%s", os.Getenv("PGUSER"), os.Getenv("PGPASSWORD"), os.Getenv("PGHOST"), os.Getenv("PGPORT"), mode)
	os.Unsetenv("PGTZ")
	columns, _ := os.ReadFile("types.txt")
	for _, more := range []string{"", "&binary_parameters=yes"} {
		db, err := sql.Open("postgres", base+more)
		if err != nil {
			panic(err)
		}
		db.SetMaxOpenConns(4)
		for _, column := range strings.Fields(string(columns)) {
			step(column+more, func() (interface{}, error) { return all(db, "SELECT "+column+" FROM types ORDER BY id") })
			step(column+more, func() (interface{}, error) { return all(db, "SELECT "+column+" FROM types WHERE id < $1 ORDER BY id", 9) })
		}
		for _, text := range []string{"SELECT 1/0", "SELEC", "SELECT * FROM nowhere", "SELECT fail('P0008')", "SELECT 1; SELECT 2", "INSERT INTO items (name, qty) VALUES ('item 1', 1)", "SELECT chat(2)", "", ";"} {
			step(text+more, func() (interface{}, error) { return all(db, text) })
		}
		prepared, err := db.Prepare("SELECT name FROM items WHERE id = $1")
		if err == nil {
			for n := 0; n < 5; n++ {
				var name string
				err := prepared.QueryRow(n).Scan(&name)
				fmt.Println("prepared", n, name, err)
			}
		}
		tx, _ := db.Begin()
		step("copy"+more, func() (interface{}, error) {
			in, err := tx.Prepare(pq.CopyIn("log", "at", "line"))
			if err != nil {
				return nil, err
			}
			for n := 0; n < 5000; n++ {
				if _, err := in.Exec(n, fmt.Sprint("line ", n)); err != nil {
					return nil, err
				}
			}
			if _, err := in.Exec(); err != nil {
				return nil, err
			}
			return "copied", in.Close()
		})
		fmt.Println("commit", tx.Commit())
		tx, _ = db.Begin()
		step("aborted"+more, func() (interface{}, error) { all(tx, "SELECT 1/0"); return all(tx, "SELECT 1") })
		fmt.Println("commit of an aborted one", tx.Commit())
		ctx, cancel := context.WithTimeout(context.Background(), 400*time.Millisecond)
		_, err = db.QueryContext(ctx, "SELECT pg_sleep(20)")
		fmt.Println("context:", err)
		cancel()
		step("usable"+more, func() (interface{}, error) { return all(db, "SELECT count(*) FROM log") })
		step("large"+more, func() (interface{}, error) {
			var s string
			err := db.QueryRow("SELECT repeat('x', 30000000)").Scan(&s)
			return len(s), err
		})
		sum := make(chan int)
		for n := 0; n < 100; n++ {
			go func(n int) { var v int; db.QueryRow("SELECT $1::int * 2", n).Scan(&v); sum <- v }(n)
		}
		total := 0
		for n := 0; n < 100; n++ {
			total += <-sum
		}
		fmt.Println("at once", total)
		db.Close()
	}
	listener := pq.NewListener(base, time.Second, time.Minute, nil)
	fmt.Println("listen", listener.Listen("ring"))
	db, _ := sql.Open("postgres", base)
	db.Exec("NOTIFY ring, 'bell'")
	select {
	case n := <-listener.Notify:
		fmt.Println("notified", n.Channel, n.Extra)
	case <-time.After(5 * time.Second):
		fmt.Println("not notified")
	}
	listener.Close()
	for _, more := range []string{"&application_name=me", "&statement_timeout=4000", "&options=-c%20geqo%3Doff", "&search_path=public", "&bogus=1", "&connect_timeout=5", "&fallback_application_name=fb", "&client_encoding=UTF8", "&datestyle=ISO"} {
		step(more, func() (interface{}, error) {
			k, err := sql.Open("postgres", base+more)
			if err != nil {
				return nil, err
			}
			defer k.Close()
			return all(k, "SELECT current_setting('statement_timeout'), current_setting('geqo'), current_setting('search_path')")
		})
	}
}
