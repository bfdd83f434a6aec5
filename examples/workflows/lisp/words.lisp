; Splits a text, counts its words, writes years as the Romans did.
(define (say . parts) (for-each display parts) (newline))

(define (split text)
  (let loop ((codes (string->list text)) (word '()) (words '()))
    (define (closed) (if (null? word) words (cons (list->string (reverse word)) words)))
    (cond ((null? codes) (reverse (closed)))
          ((= (car codes) 32) (loop (cdr codes) '() (closed)))
          (else (loop (cdr codes) (cons (car codes) word) words)))))

(define (join words separator)
  (if (null? words)
      ""
      (fold (lambda (so-far word) (string-append so-far separator word)) (car words) (cdr words))))

(define (roman n)
  (let loop ((n n) (signs '((1000 "M") (900 "CM") (500 "D") (400 "CD") (100 "C") (90 "XC") (50 "L")
                            (40 "XL") (10 "X") (9 "IX") (5 "V") (4 "IV") (1 "I"))) (so-far ""))
    (cond ((= n 0) so-far)
          ((>= n (caar signs)) (loop (- n (caar signs)) signs (string-append so-far (cadr (car signs)))))
          (else (loop n (cdr signs) so-far)))))

(define texts
  '("the heap is a hill and the hill is a heap and the rest is counted"
    "what is not kept is lost and what is lost makes room for what comes"
    "a block a hole a block a hole and nowhere a place for the long one"))
(define text (list-ref texts (remainder workflow 3)))

(define (tally words)
  (fold (lambda (counts word)
          (let ((entry (assoc word counts)))
            (if entry
                (begin (set-cdr! entry (+ (cdr entry) 1)) counts)
                (cons (cons word 1) counts))))
        '()
        words))
(define (by-count a b) (if (= (cdr a) (cdr b)) (string<? (car a) (car b)) (> (cdr a) (cdr b))))

(define words (split text))
(define counts (sort (tally words) by-count))
; While the counts are alive, each word's sum over all workflows grows.
(for-each (lambda (entry)
            (let ((before (recall 'cache (car entry))))
              (remember 'cache (car entry) (number->string (+ (cdr entry) (if before (string->number before) 0))))))
          counts)
(when (= (remainder workflow 4) 0)
  (remember 'labels (string-append "year " (roman workflow)) (join (reverse words) "-")))

(say "years: " (join (map (lambda (i) (roman (+ 1900 workflow i))) (iota 6)) " "))
(say "reversed: " (join (reverse words) " "))
(say "words: " counts)
(say "the: " (let ((kept (recall 'cache "the"))) (if kept kept "never")))
