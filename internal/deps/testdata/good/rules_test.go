package good

var inATest = 1
