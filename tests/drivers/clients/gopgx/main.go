// pgx 4: binary formats, its statement cache, batches (pipelines), CopyFrom, notifications, runtime parameters, cancel by context.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"
)

var ctx = context.Background()

func describe(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return fmt.Sprintf("%+v", *e)
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
	Query(context.Context, string, ...interface{}) (pgx.Rows, error)
}

func all(q querier, text string, args ...interface{}) (interface{}, error) {
	rows, err := q.Query(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := []string{}
	for _, f := range rows.FieldDescriptions() {
		out = append(out, fmt.Sprintf("%s:%d:%d:%d:%d", f.Name, f.DataTypeOID, f.DataTypeSize, f.TypeModifier, f.Format))
	}
	for rows.Next() {
		out = append(out, fmt.Sprintf("%q", rows.RawValues()))
	}
	return fmt.Sprint(out, rows.CommandTag()), rows.Err()
}

func main() {
	mode := "disable"
	if os.Getenv("DRIVERS_TLS") != "" {
		mode = "require"
	}
	base := fmt.Sprintf("postgres://%s:%s@%s:%s/drivers?sslmode=%s", os.Getenv("PGUSER"), os.Getenv("PGPASSWORD"), os.Getenv("PGHOST"), os.Getenv("PGPORT"), mode)
	columns, _ := os.ReadFile("types.txt")
	for _, cache := range []string{"", "&statement_cache_mode=describe", "&statement_cache_capacity=0"} {
		config, err := pgx.ParseConfig(base + cache)
		if err != nil {
			panic(err)
		}
		config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { fmt.Println("  notice", n.Severity, n.Code, n.Message, n.Detail, n.Hint) }
		c, err := pgx.ConnectConfig(ctx, config)
		if err != nil {
			fmt.Println(describe(err))
			os.Exit(1)
		}
		for _, column := range strings.Fields(string(columns)) {
			step(column+cache, func() (interface{}, error) { return all(c, "SELECT "+column+" FROM types WHERE id < $1 ORDER BY id", 9) })
			step(column+cache+" simple", func() (interface{}, error) { return all(c, "SELECT "+column+" FROM types WHERE id < $1 ORDER BY id", pgx.QuerySimpleProtocol(true), 9) })
		}
		for _, text := range []string{"SELECT 1/0", "SELEC", "SELECT * FROM nowhere", "SELECT fail('P0008')", "SELECT chat(2)", "INSERT INTO items (name, qty) VALUES ('item 1', 1)", ""} {
			step(text+cache, func() (interface{}, error) { return all(c, text) })
		}
		for n := 0; n < 6; n++ {
			step("cached", func() (interface{}, error) { return all(c, "SELECT name FROM items WHERE id = $1", n) })
		}
		for _, bad := range []string{"SELECT 3", "SELECT 1/0", "SELEC"} {
			step("batch "+bad, func() (interface{}, error) {
				batch := &pgx.Batch{}
				for n := 0; n < 20; n++ {
					batch.Queue("INSERT INTO log VALUES ($1, 'batch')", n)
				}
				batch.Queue(bad)
				batch.Queue("SELECT count(*) FROM log")
				results := c.SendBatch(ctx, batch)
				defer results.Close()
				for n := 0; n < 21; n++ {
					if _, err := results.Exec(); err != nil {
						return nil, err
					}
				}
				var count int
				err := results.QueryRow().Scan(&count)
				return count, err
			})
		}
		step("copy"+cache, func() (interface{}, error) {
			return c.CopyFrom(ctx, pgx.Identifier{"log"}, []string{"at", "line"}, pgx.CopyFromSlice(5000, func(i int) ([]interface{}, error) { return []interface{}{i, "c"}, nil }))
		})
		step("copy breaks"+cache, func() (interface{}, error) {
			return c.CopyFrom(ctx, pgx.Identifier{"log"}, []string{"at", "line"}, pgx.CopyFromSlice(5, func(i int) ([]interface{}, error) { return nil, errors.New("the source broke") }))
		})
		step("nested", func() (interface{}, error) {
			tx, err := c.Begin(ctx)
			if err != nil {
				return nil, err
			}
			inner, _ := tx.Begin(ctx)
			all(inner, "SELECT 1/0")
			inner.Rollback(ctx)
			out, err := all(tx, "SELECT count(*) FROM log")
			tx.Commit(ctx)
			return out, err
		})
		c.Exec(ctx, "ALTER TABLE watched ADD extra int")
		step("shape"+cache, func() (interface{}, error) { return all(c, "SELECT * FROM watched") })
		c.Exec(ctx, "ALTER TABLE watched DROP extra")
		step("shape again"+cache, func() (interface{}, error) { return all(c, "SELECT * FROM watched") })
		c.Exec(ctx, "LISTEN ring")
		c.Exec(ctx, "NOTIFY ring, 'bell'")
		step("notified", func() (interface{}, error) { n, err := c.WaitForNotification(ctx); return n.Channel + n.Payload, err })
		multi := c.PgConn().Exec(ctx, "SELECT 1; SELECT 'two'; SELECT 1/0; SELECT 4")
		results, err := multi.ReadAll()
		for _, r := range results {
			fmt.Printf("multi %q %s\n", r.Rows, r.CommandTag)
		}
		fmt.Println(describe(err))
		step("large", func() (interface{}, error) { var b []byte; err := c.QueryRow(ctx, "SELECT repeat('x', 30000000)::bytea").Scan(&b); return len(b), err })
		pid := c.PgConn().PID()
		other, _ := pgx.Connect(ctx, base)
		short, cancel := context.WithTimeout(ctx, 400*time.Millisecond)
		_, err = other.Exec(short, "SELECT pg_sleep(20)")
		fmt.Println("context:", errors.Is(err, context.DeadlineExceeded), other.IsClosed())
		cancel()
		other, _ = pgx.Connect(ctx, base)
		step("terminate", func() (interface{}, error) { return all(other, "SELECT pg_terminate_backend($1::int) IS NOT NULL", int(pid)) })
		time.Sleep(300 * time.Millisecond)
		step("victim", func() (interface{}, error) { return all(c, "SELECT 1") })
		other.Close(ctx)
	}
	for _, more := range []string{"&application_name=me", "&statement_timeout=4000", "&options=-c%20geqo%3Doff", "&search_path=public", "&bogus=1", "&pool_max_conns=3", "&target_session_attrs=read-write"} {
		step(more, func() (interface{}, error) {
			k, err := pgx.Connect(ctx, base+more)
			if err != nil {
				return nil, err
			}
			defer k.Close(ctx)
			return all(k, "SELECT current_setting('statement_timeout'), current_setting('geqo'), current_setting('search_path')")
		})
	}
}
