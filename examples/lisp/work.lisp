; What programs in Lisp do, in one script: every section makes garbage in rings of its own kind, and prints
; what it has found. What it prints is the same on every machine, and stands in expected.txt.

(define (say . parts)
  (for-each display parts)
  (newline))

; ---------------------------------------------------------------- closures that count

(define (make-counter step)
  (let ((n 0))
    (lambda () (set! n (+ n step)) n)))

(define by-three (make-counter 3))
(define by-ten (make-counter 10))
(by-three) (by-three) (by-ten)
(say "counters: " (by-three) " and " (by-ten))

; An account knows itself: its environment holds closures which hold the environment.
(define (make-account balance)
  (define (deposit n) (set! balance (+ balance n)) self)
  (define (withdraw n)
    (if (> n balance)
        (error "not enough in the account" balance)
        (begin (set! balance (- balance n)) self)))
  (define (self message . arguments)
    (cond ((eq? message 'deposit) (apply deposit arguments))
          ((eq? message 'withdraw) (apply withdraw arguments))
          (else balance)))
  self)

(define account (make-account 100))
(say "account: " (((account 'deposit 50) 'withdraw 30) 'balance))
(account 'withdraw 1000)
(say "after the refusal: " (account 'balance))
(set! account #f)

; ---------------------------------------------------------------- mutual recursion, in a local ring

(define (parity n)
  (letrec ((even? (lambda (n) (if (= n 0) 'even (odd? (- n 1)))))
           (odd? (lambda (n) (if (= n 0) 'odd (even? (- n 1))))))
    (even? n)))

(say "parity of 0 to 7: " (map parity (iota 8)) ", of 3001: " (parity 3001))

; Each turn of this loop leaves a ring of closures and environments behind.
(define (many-rings n)
  (let loop ((i 0) (evens 0))
    (if (= i n)
        evens
        (loop (+ i 1) (if (eq? (parity (remainder i 5)) 'even) (+ evens 1) evens)))))

(say "even ones among 2000 rings: " (many-rings 2000))

; ---------------------------------------------------------------- a tail loop of 100000 steps

(define (count-to n)
  (let loop ((i 0) (even #t))
    (if (= i n) (list i even) (loop (+ i 1) (not even)))))

(say "tail loop: " (count-to 100000))

; ---------------------------------------------------------------- a queue of two pointers

(define (make-queue) (let ((head (list 'head))) (cons head head)))

(define (enqueue! queue x)
  (let ((cell (list x)))
    (set-cdr! (cdr queue) cell)
    (set-cdr! queue cell)))

(define (dequeue! queue)
  (let ((cell (cdr (car queue))))
    (set-car! queue cell)
    (car cell)))

(define (queue-empty? queue) (eq? (car queue) (cdr queue)))

; Josephus: of n in a ring every k-th leaves; who is last?
(define (josephus n k)
  (let ((queue (make-queue)))
    (for-each (lambda (i) (enqueue! queue (+ i 1))) (iota n))
    (let loop ((i 1))
      (let ((who (dequeue! queue)))
        (cond ((queue-empty? queue) who)
              ((= (remainder i k) 0) (loop (+ i 1)))
              (else (enqueue! queue who) (loop (+ i 1))))))))

(say "Josephus, 41 men, every third: " (josephus 41 3) "; 100, every second: " (josephus 100 2))

; ---------------------------------------------------------------- strings

(define (join words separator)
  (if (null? words)
      ""
      (fold (lambda (so-far word) (string-append so-far separator word)) (car words) (cdr words))))

(define (split text)
  (let loop ((codes (string->list text)) (word '()) (words '()))
    (define (closed) (if (null? word) words (cons (list->string (reverse word)) words)))
    (cond ((null? codes) (reverse (closed)))
          ((= (car codes) 32) (loop (cdr codes) '() (closed)))
          (else (loop (cdr codes) (cons (car codes) word) words)))))

(define (roman n)
  (let loop ((n n) (signs '((1000 "M") (900 "CM") (500 "D") (400 "CD") (100 "C") (90 "XC") (50 "L")
                            (40 "XL") (10 "X") (9 "IX") (5 "V") (4 "IV") (1 "I"))) (so-far ""))
    (cond ((= n 0) so-far)
          ((>= n (caar signs)) (loop (- n (caar signs)) signs (string-append so-far (cadr (car signs)))))
          (else (loop n (cdr signs) so-far)))))

(define text "the heap is a hill and the hill is a heap and the rest is counted")

(define (tally words)
  (fold (lambda (counts word)
          (let ((entry (assoc word counts)))
            (if entry
                (begin (set-cdr! entry (+ (cdr entry) 1)) counts)
                (cons (cons word 1) counts))))
        '()
        words))

(define (by-count a b)
  (if (= (cdr a) (cdr b)) (string<? (car a) (car b)) (> (cdr a) (cdr b))))

(say "years: " (join (map roman (list 1984 1999 2026)) " "))
(say "reversed: " (join (reverse (split text)) " "))
(say "words: " (sort (tally (split text)) by-count))

; ---------------------------------------------------------------- vectors as hash tables

(define (hash text buckets)
  (let loop ((i 0) (h 5381))
    (if (= i (string-length text))
        (remainder h buckets)
        (loop (+ i 1) (remainder (+ (* h 33) (string-ref text i)) 1000003)))))

(define (make-table n) (make-vector n '()))

(define (table-update! table key default change)
  (let* ((at (hash key (vector-length table)))
         (entry (assoc key (vector-ref table at))))
    (if entry
        (set-cdr! entry (change (cdr entry)))
        (vector-set! table at (cons (cons key (change default)) (vector-ref table at))))))

(define (table-ref table key default)
  (let ((entry (assoc key (vector-ref table (hash key (vector-length table))))))
    (if entry (cdr entry) default)))

(define (table-count table)
  (fold (lambda (n bucket) (+ n (length bucket))) 0 (vector->list table)))

(define table (make-table 61))
(for-each (lambda (i) (table-update! table (roman (+ 1 (remainder (* i i) 97))) 0 (lambda (n) (+ n 1))))
          (iota 300))
(say "table: " (table-count table) " keys, IX " (table-ref table "IX" 0) " times, V " (table-ref table "V" 0)
     " times")
; The table holds a function that holds the table.
(table-update! table "self" #f (lambda (none) (lambda () (table-count table))))
(say "a table that counts itself: " ((table-ref table "self" #f)))
(set! table #f)

; ---------------------------------------------------------------- sorting

(define seed 42)
(define (random n)
  (set! seed (remainder (+ (* seed 1103515245) 12345) 2147483648))
  (remainder (quotient seed 65536) n))

(define (quicksort l)
  (if (null? l)
      '()
      (let ((pivot (car l)))
        (append (quicksort (filter (lambda (x) (< x pivot)) (cdr l)))
                (list pivot)
                (quicksort (filter (lambda (x) (>= x pivot)) (cdr l)))))))

(define (heapsort! v)
  (define (swap! i j)
    (let ((x (vector-ref v i)))
      (vector-set! v i (vector-ref v j))
      (vector-set! v j x)))
  (define (sink! i end)
    (let* ((left (+ i i 1)) (right (+ left 1)) (most i))
      (when (and (< left end) (> (vector-ref v left) (vector-ref v most))) (set! most left))
      (when (and (< right end) (> (vector-ref v right) (vector-ref v most))) (set! most right))
      (when (not (= most i)) (swap! i most) (sink! most end))))
  (let ((n (vector-length v)))
    (let loop ((i (quotient n 2))) (when (>= i 0) (sink! i n) (loop (- i 1))))
    (let loop ((end (- n 1)))
      (when (> end 0) (swap! 0 end) (sink! 0 end) (loop (- end 1)))))
  (vector->list v))

(define numbers (map (lambda (i) (random 1000)) (iota 200)))
(define sorted (sort numbers <))
(say "sorted: " (list-ref sorted 0) " " (list-ref sorted 100) " " (list-ref sorted 199) ", three ways the same: "
     (and (equal? sorted (quicksort numbers)) (equal? sorted (heapsort! (list->vector numbers)))))

; ---------------------------------------------------------------- queens

(define (queens n)
  (define (safe? row placed distance)
    (or (null? placed)
        (and (not (= (car placed) row))
             (not (= (abs (- (car placed) row)) distance))
             (safe? row (cdr placed) (+ distance 1)))))
  (define (place column placed)
    (if (= column n)
        1
        (let loop ((row 0) (ways 0))
          (if (= row n)
              ways
              (loop (+ row 1)
                    (if (safe? row placed 1) (+ ways (place (+ column 1) (cons row placed))) ways))))))
  (place 0 '()))

(say "queens: " (map queens '(1 4 5 6)))

; ---------------------------------------------------------------- streams that are computed when needed

(define (stream-cons x later)
  (let ((forced #f) (value #f))
    (cons x (lambda ()
              (when (not forced)
                (set! value (later))
                (set! forced #t))
              value))))
(define (stream-rest s) ((cdr s)))
(define (take s n) (if (= n 0) '() (cons (car s) (take (stream-rest s) (- n 1)))))
(define (from n) (stream-cons n (lambda () (from (+ n 1)))))
(define (sift p s)
  (if (= (remainder (car s) p) 0)
      (sift p (stream-rest s))
      (stream-cons (car s) (lambda () (sift p (stream-rest s))))))
(define (sieve s)
  (stream-cons (car s) (lambda () (sieve (sift (car s) (stream-rest s))))))

(say "primes: " (take (sieve (from 2)) 15))

; A stream that is defined by itself is a ring.
(define (fibonacci n)
  (define (add a b) (stream-cons (+ (car a) (car b)) (lambda () (add (stream-rest a) (stream-rest b)))))
  (define fibs (stream-cons 0 (lambda () (stream-cons 1 (lambda () (add fibs (stream-rest fibs)))))))
  (take fibs n))

(say "Fibonacci: " (fibonacci 20))

; ---------------------------------------------------------------- symbols: derivatives

(define (derive x of)
  (cond ((number? x) 0)
        ((symbol? x) (if (eq? x of) 1 0))
        ((eq? (car x) '+) `(+ ,(derive (cadr x) of) ,(derive (caddr x) of)))
        ((eq? (car x) '*) `(+ (* ,(derive (cadr x) of) ,(caddr x)) (* ,(cadr x) ,(derive (caddr x) of))))
        (else (error "no rule to derive this" x))))

(define (simplify x)
  (if (not (pair? x))
      x
      (let ((a (simplify (cadr x))) (b (simplify (caddr x))) (sign (car x)))
        (cond ((and (number? a) (number? b)) (if (eq? sign '+) (+ a b) (* a b)))
              ((eq? sign '+) (cond ((equal? a 0) b) ((equal? b 0) a) (else (list '+ a b))))
              ((or (equal? a 0) (equal? b 0)) 0)
              ((equal? a 1) b)
              ((equal? b 1) a)
              (else (list '* a b))))))

(say "derived: " (simplify (derive '(+ (* a (* x x)) (+ (* b x) c)) 'x)))
(derive '(- x 1) 'x)

; ---------------------------------------------------------------- Lisp in Lisp

; Environments are lists of frames, a frame a list of (name . value). What is evaluated is data.
(define (lookup name env)
  (if (null? env)
      (error "no such name in the inner Lisp" name)
      (let ((entry (assq name (car env))))
        (if entry entry (lookup name (cdr env))))))

(define (evaluate x env)
  (cond ((symbol? x) (cdr (lookup x env)))
        ((not (pair? x)) x)
        ((eq? (car x) 'quote) (cadr x))
        ((eq? (car x) 'if)
         (if (evaluate (cadr x) env)
             (evaluate (caddr x) env)
             (evaluate (list-ref x 3) env)))
        ((eq? (car x) 'lambda) (list 'closure (cadr x) (caddr x) env))
        ((eq? (car x) 'define)
         (set-car! env (cons (cons (cadr x) (evaluate (caddr x) env)) (car env))))
        (else (call (evaluate (car x) env) (map (lambda (y) (evaluate y env)) (cdr x))))))

(define (call f arguments)
  (if (procedure? f)
      (apply f arguments)
      (evaluate (caddr f) (cons (map cons (cadr f) arguments) (list-ref f 3)))))

(define (inner-lisp program)
  (let ((env (list (list (cons '+ +) (cons '- -) (cons '* *) (cons '< <) (cons '= =) (cons 'cons cons)))))
    (fold (lambda (last x) (evaluate x env)) #f program)))

(define inner-program
  '((define fact (lambda (n) (if (< n 2) 1 (* n (fact (- n 1))))))
    (define fib (lambda (n) (if (< n 2) n (+ (fib (- n 1)) (fib (- n 2))))))
    (define twice (lambda (f) (lambda (x) (f (f x)))))
    (cons (fact 15) (cons (fib 11) (cons (((twice (twice twice)) (lambda (x) (+ x 3))) 1) '())))))

(say "inner Lisp: " (inner-lisp inner-program))
(inner-lisp '((+ 1 nobody)))

; ---------------------------------------------------------------- a machine with a tape

(define (run-tape program input)
  (define end (string-length program))
  (define code (list->vector (string->list program)))
  (define tape (make-vector 12 0))
  ; For each bracket where its partner is.
  (define partners
    (let ((found (make-vector end 0)))
      (let loop ((i 0) (open '()))
        (cond ((= i end) found)
              ((= (vector-ref code i) #\[) (loop (+ i 1) (cons i open)))
              ((= (vector-ref code i) #\])
               (vector-set! found i (car open))
               (vector-set! found (car open) i)
               (loop (+ i 1) (cdr open)))
              (else (loop (+ i 1) open))))))
  (define (change at by) (vector-set! tape at (modulo (+ (vector-ref tape at) by) 256)))
  (let step ((pc 0) (at 0) (output '()))
    (if (= pc end)
        (list->string (reverse output))
        (let ((c (vector-ref code pc)))
          (cond ((= c #\>) (step (+ pc 1) (+ at 1) output))
                ((= c #\<) (step (+ pc 1) (- at 1) output))
                ((= c #\+) (change at 1) (step (+ pc 1) at output))
                ((= c #\-) (change at -1) (step (+ pc 1) at output))
                ((= c #\.) (step (+ pc 1) at (cons (vector-ref tape at) output)))
                ((= c #\,)
                 (vector-set! tape at (if (null? input) 0 (car input)))
                 (when (pair? input) (set! input (cdr input)))
                 (step (+ pc 1) at output))
                ((and (= c #\[) (= (vector-ref tape at) 0)) (step (vector-ref partners pc) at output))
                ((and (= c #\]) (not (= (vector-ref tape at) 0))) (step (vector-ref partners pc) at output))
                (else (step (+ pc 1) at output)))))))

(say "tape: " (run-tape "++++++++[>+++++++++>++++++++++++++>++++<<<-]>+++.>--.+.---..>." '())
     (run-tape ",[.,]" '(98 97 99 107)))

; ---------------------------------------------------------------- doubly linked nodes

; A node: #(value previous next). Every list of more than one is a ring of many rings.
(define (make-node x) (vector x '() '()))
(define (node-value node) (vector-ref node 0))
(define (previous node) (vector-ref node 1))
(define (next node) (vector-ref node 2))
(define (link! a b) (vector-set! a 2 b) (vector-set! b 1 a))

(define (make-ring values)
  (let ((first-node (make-node (car values))))
    (let loop ((last first-node) (values (cdr values)))
      (if (null? values)
          (begin (link! last first-node) first-node)
          (let ((node (make-node (car values))))
            (link! last node)
            (loop node (cdr values)))))))

(define (walk node step n)
  (if (= n 0) '() (cons (node-value node) (walk (step node) step (- n 1)))))

(define ring (make-ring (iota 10)))
(say "ring: " (walk ring next 12) " " (walk ring previous 4))
(link! (previous ring) (next ring))
(set! ring (next ring))
(say "without its first: " (walk ring next 10))
(set! ring #f)

(define (many-node-rings n size)
  (let loop ((i 0) (sum 0))
    (if (= i n) sum (loop (+ i 1) (+ sum (node-value (previous (make-ring (iota size)))))))))

(say "nodes of 100 rings: " (many-node-rings 100 20))

; Ways through a grid of places, each of which knows its neighbours and is known by them.
(define (make-place name) (vector name '() #f))
(define (connect! a b)
  (vector-set! a 1 (cons b (vector-ref a 1)))
  (vector-set! b 1 (cons a (vector-ref b 1))))

(define (make-grid width height blocked)
  (define grid (make-vector (* width height) #f))
  (let loop ((i 0))
    (when (< i (* width height))
      (vector-set! grid i (make-place i))
      (when (not (memq i blocked))
        (when (and (> (remainder i width) 0) (not (memq (- i 1) blocked)))
          (connect! (vector-ref grid i) (vector-ref grid (- i 1))))
        (when (and (>= i width) (not (memq (- i width) blocked)))
          (connect! (vector-ref grid i) (vector-ref grid (- i width)))))
      (loop (+ i 1))))
  grid)

(define (distance from to)
  (define queue (make-queue))
  (vector-set! from 2 0)
  (enqueue! queue from)
  (let loop ()
    (if (queue-empty? queue)
        'none
        (let ((place (dequeue! queue)))
          (if (eq? place to)
              (vector-ref place 2)
              (begin
                (for-each (lambda (neighbour)
                            (when (not (vector-ref neighbour 2))
                              (vector-set! neighbour 2 (+ (vector-ref place 2) 1))
                              (enqueue! queue neighbour)))
                          (vector-ref place 1))
                (loop)))))))

(define (way width height blocked)
  (let ((grid (make-grid width height blocked)))
    (distance (vector-ref grid 0) (vector-ref grid (- (* width height) 1)))))

(say "ways: " (way 8 8 '()) " " (way 8 8 '(1 9 17 25 33 41 49 22 30 38 46 54 62)) " " (way 5 5 '(5 6 7 8 9)))

; ---------------------------------------------------------------- errors, which end their expression only

(say "never shown: " (vector-ref (vector 1 2 3) 3))
(define (half n) (if (odd? n) (error "an odd number has no half" n) (quotient n 2)))
(map half '(2 4 5 6))
(let ((self (vector 1 2)))
  (vector-set! self 0 (lambda () self))
  (+ 1 (vector-ref self 0)))
(define (forever n) (+ 1 (forever (+ n 1))))
(forever 0)
(say "still here: " (map half '(2 4 6)))

; ---------------------------------------------------------------- what stays in rings until the end

(define (tree depth parent)
  (let ((node (list parent '() depth)))
    (when (> depth 0)
      (set-car! (cdr node) (list (tree (- depth 1) node) (tree (- depth 1) node))))
    node))
(define (tree-sum node) (+ (caddr node) (fold + 0 (map tree-sum (cadr node)))))
(define kept (tree 6 #f))
(define kept-rings (map (lambda (i) (make-ring (iota (+ i 1)))) (iota 8)))
(define (kept-closure) (list kept kept-closure))
(say "kept: " (tree-sum kept) " " (map (lambda (ring) (node-value (previous ring))) kept-rings))
