; Three ways to sort the same numbers.
(define (say . parts) (for-each display parts) (newline))

(define seed (* workflow 97))
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

(define numbers (map (lambda (i) (random 10000)) (iota (+ 30 (remainder workflow 40)))))
(define sorted (sort numbers <))

; The median of the day, between the first sorting and the others.
(define median (list-ref sorted (quotient (length sorted) 2)))
(remember 'settings "median" (number->string median))
(when (= (remainder workflow 5) 2)
  (remember 'journal (string-append "sorted " (number->string workflow)) (number->string (list-ref sorted 0))))

(say "from " (list-ref sorted 0) " to " (list-ref sorted (- (length sorted) 1)) ", median " (recall 'settings "median")
     ", the same: " (and (equal? sorted (quicksort numbers)) (equal? sorted (heapsort! (list->vector numbers)))))
