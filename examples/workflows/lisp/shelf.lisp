; Hash tables in vectors, one of which holds a function that holds the table.
(define (say . parts) (for-each display parts) (newline))

(define (hash text buckets)
  (let loop ((i 0) (h 5381))
    (if (= i (string-length text))
        (remainder h buckets)
        (loop (+ i 1) (remainder (+ (* h 33) (string-ref text i)) 1000003)))))

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

(define (title i) (string-append "book " (number->string (remainder (* i i) 89)) "/" (number->string (remainder i 3))))
(define shelf (make-vector (+ 31 (remainder workflow 30)) '()))
(for-each (lambda (i) (table-update! shelf (title (+ i workflow)) 0 (lambda (n) (+ n 1)))) (iota (+ 80 (remainder workflow 40))))
(table-update! shelf "self" #f (lambda (none) (lambda () (table-count shelf))))

; A reader takes a book home: the library does not forget.
(when (= (remainder workflow 3) 1)
  (remember 'devices (title workflow) (string-append "lent " (number->string (table-ref shelf (title workflow) 0)) " times")))

(say "titles: " ((table-ref shelf "self" #f)) ", most of one: "
     (fold (lambda (most bucket) (fold (lambda (m e) (if (number? (cdr e)) (max m (cdr e)) m)) most bucket)) 0 (vector->list shelf)))
(say "lent: " (let ((kept (recall 'devices (title workflow)))) (if kept kept "never")))
(say "first shelf: " (map car (vector-ref shelf 0)))
