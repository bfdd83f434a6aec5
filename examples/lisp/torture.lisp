; A short script for the run in which every allocation collects and verifies everything.

(define (say . parts)
  (for-each display parts)
  (newline))

; A closure in a ring, a ring of pairs, one of vectors, a ring of rings.
(define (ring-of-closures)
  (letrec ((a (lambda (n) (if (= n 0) 'a (b (- n 1)))))
           (b (lambda (n) (if (= n 0) 'b (a (- n 1))))))
    (a 3)))
(define (ring-of-pairs)
  (let ((l (list 1 2 3)))
    (set-cdr! (cddr l) l)
    (list-ref l 4)))
(define (ring-of-vectors)
  (let ((a (vector 'a #f)) (b (vector 'b #f)))
    (vector-set! a 1 b)
    (vector-set! b 1 a)
    (vector-ref (vector-ref (vector-ref a 1) 1) 0)))
(define (make-self) (define (self) self) self)

(say (ring-of-closures) " " (ring-of-pairs) " " (ring-of-vectors) " " (procedure? (((make-self)))))

; Objects that change while they are in use.
(define counter (let ((n 0)) (lambda () (set! n (+ n 1)) n)))
(counter)
(define (f) (set! f (lambda () 'second)) 'first)
(define first (f))
(say (counter) " " first " " (f))
(define table (make-vector 3 '()))
(let loop ((i 0))
  (when (< i 6)
    (vector-set! table (remainder i 3) (cons (* i i) (vector-ref table (remainder i 3))))
    (loop (+ i 1))))
(say table " " (sort '(3 1 2) <) " " (string-append "te" "xt") " " `(1 ,(+ 1 1) ,@(list 3 4)))

; Errors, with rings under way.
(let ((ring (list 1)))
  (set-cdr! ring ring)
  (car (car ring)))
(define (fails self) (self self 1))
(fails fails)
((lambda (x) (y)) (make-self))
(say "still here: " (counter))
(define kept (list (make-self) (make-self)))
(set-cdr! (cdr kept) kept)
