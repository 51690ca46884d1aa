module geophone/accuracy

go 1.21
