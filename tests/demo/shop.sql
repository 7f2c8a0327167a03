-- The shop that the demo protects.
CREATE SCHEMA app;
CREATE TABLE app.customers (id int PRIMARY KEY, name text NOT NULL, card_number text NOT NULL, ssn text NOT NULL);
INSERT INTO app.customers VALUES
    (1, 'first customer', '4111111111111111', '536-90-4399'),
    (2, 'second customer', '5500005555555559', '219-09-9999'),
    (3, 'third customer', '340000000000009', '457-55-5462');
CREATE TABLE app.orders (id int PRIMARY KEY, customer int REFERENCES app.customers, total numeric(10,2) NOT NULL);
INSERT INTO app.orders SELECT n, 1 + n % 3, n * 1.5 FROM generate_series(1, 1000) n;
CREATE TABLE app.import_2019 (id int);
