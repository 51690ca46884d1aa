// Command tds asks SQL Server for things by its own client: ADDRESS. Fails unless they are answered.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	mssql "github.com/microsoft/go-mssqldb"
)

func main() {
	if err := ask(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func ask(address string) error {
	ctx := context.Background()
	db, err := sql.Open("sqlserver", fmt.Sprintf("sqlserver://app:secret@%s?database=shop&encrypt=disable", address))
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	// A text alone is a batch; with arguments, sp_executesql runs it.
	if _, err := db.ExecContext(ctx, "CREATE TABLE users (id int, name nvarchar(100))"); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, "INSERT INTO users (name) VALUES (@name)", sql.Named("name", "secret")); err != nil {
		return err
	}
	rows, err := db.QueryContext(ctx, "SELECT TOP (3) id, name FROM users WHERE name = @p1", "secret")
	if err != nil {
		return err
	}
	count := 0
	for rows.Next() {
		count++
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil || count != 3 {
		return fmt.Errorf("%d rows, %w", count, err)
	}
	// A prepared statement, twice.
	prepared, err := db.PrepareContext(ctx, "SELECT TOP (1) id, name FROM users WHERE id = @p1")
	if err != nil {
		return err
	}
	for n := range 2 {
		var id int
		var name string
		if err := prepared.QueryRowContext(ctx, n).Scan(&id, &name); err != nil {
			return err
		}
	}
	if err := prepared.Close(); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, "dbo.place_order", sql.Named("id", 7)); err != nil {
		return err
	}
	transaction, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if _, err := transaction.ExecContext(ctx, "INSERT INTO users (name) VALUES (N'secret')"); err != nil {
		return err
	}
	if err := transaction.Commit(); err != nil {
		return err
	}
	var refused mssql.Error
	if _, err := db.ExecContext(ctx, "SELECT name FROM nobody"); !errors.As(err, &refused) || refused.Number != 208 {
		return fmt.Errorf("no table is called that, and yet: %w", err)
	}
	// What takes too long is stopped by an attention.
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	if _, err := db.ExecContext(short, "WAITFOR DELAY '00:01:00'"); err == nil {
		return errors.New("it was not stopped")
	}
	return nil
}
