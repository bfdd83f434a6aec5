; Everything that can go wrong, one after the other. Each error ends its expression only, and nothing that the
; expression held stays behind. Run with a heap so small that a list can fill it: expected-errors.txt.

(define (say . parts)
  (for-each display parts)
  (newline))

; ---------------------------------------------------------------- what is no program

(if)
(let ((x)) x)
(let x)
(lambda (1 2) 3)
(lambda (x . y))
(define "x" 1)
(define (5 x) x)
(cond 1)
(letrec () 1)
(set! 5 6)
(begin . 1)
(when #t (define inner 1) inner)
if
(let loop)
(quote)
`(1 ,@5 2)
#q
#\ab
12x
99999999999999999999

; ---------------------------------------------------------------- what is no argument

(5 6)
((lambda (x) x))
((lambda (x) x) 1 2)
((lambda (x . more) x))
(car '())
(cdr "text")
(set-car! 'a 1)
(cadr '(1))
(length '(1 2 . 3))
(list-tail '(1 2) 3)
(apply + 1)
(apply + '(1 . 2))
(assq 'a '(1))
(vector-ref #(1 2) 2)
(vector-ref #(1 2) -1)
(vector-ref '(1 2) 0)
(make-vector -1)
(make-vector 100000000 'x)
(string-append "a" 'b)
(string-ref "abc" 3)
(substring "abc" 2 1)
(list->string '(97 256))
(symbol->string "a")
(string->symbol 'a)
(+ 1 "1")
(< 1 'a)
(quotient 1 0)
(+ 9223372036854775807 1)
(- -9223372036854775808)
(* 4294967296 2147483648)
(* -9223372036854775808 -1)
(quotient -9223372036854775808 -1)
(error "told" '(by the . program))
(error 'no-text)
(set! nobody 1)
(letrec ((a (lambda () b)) (b (a))) b)
(eval '(let ((x 1)) (y)))
(eval (list 'lambda))

; ---------------------------------------------------------------- what is too much

(define (deep n) (+ 1 (deep (+ n 1))))
(deep 0)
(define (deep-map l) (map deep-map (list l)))
(deep-map 1)
; A ring of pairs: printed up to a thousand elements, and no list.
(define ring (list 1 2))
(set-cdr! (cdr ring) ring)
(say ring)
(eval ring)
(apply + ring)
(set! ring #f)

(define (nested n) (if (= n 0) '() (list (nested (- n 1)))))
(say (nested 70))
(equal? (nested 70) (nested 70))
(eval (fold (lambda (so-far i) (list 'if so-far 1 2)) #t (iota 70)))

; All memory: in one piece, in a list, in rings, in closures that hold each other, in ever longer texts. When
; the error has let go of it there must be as much as before.
(define (fill-with-pairs l) (fill-with-pairs (cons 1 l)))
(define (fill-with-rings v) (set! v (make-vector 3 v)) (vector-set! v 0 v) (fill-with-rings v))
(define (fill-with-closures f) (fill-with-closures (lambda () f)))
(define (fill-with-text text) (fill-with-text (string-append text text)))
(fill-with-pairs '())
(fill-with-rings '())
(fill-with-closures car)
(fill-with-text "doubled ")
(fill-with-rings '())
(fill-with-pairs '())
(let loop ((i 0))
  (if (< i 200)
      (begin (make-vector 400 i) (loop (+ i 1)))
      (say "200 vectors, one after the other")))

; ---------------------------------------------------------------- and yet

(define (make-counter) (let ((n 0)) (lambda () (set! n (+ n 1)) n)))
(define counter (make-counter))
(counter)
(say "still here: " (counter) " " (equal? '(1 #(2 "three") . 4) '(1 #(2 "three") . 4)) " " (length (iota 500)))
(say (quotient -7 2) " " (remainder -7 2) " " (modulo -7 2) " " (* -4294967296 2147483648))
(write '("quoted \"text\"\n" sym () #() #t . #f))
(newline)
)
"an open string
