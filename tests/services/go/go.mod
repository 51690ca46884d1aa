module geophone.test/server

go 1.21
