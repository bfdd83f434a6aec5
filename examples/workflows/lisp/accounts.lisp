; Accounts that know themselves: their environments hold closures which hold the environments.
(define (say . parts) (for-each display parts) (newline))

(define (make-account name balance)
  (define history '())
  (define (note what n) (set! history (cons (list what n balance) history)))
  (define (deposit n) (set! balance (+ balance n)) (note 'in n) self)
  (define (withdraw n)
    (if (> n balance)
        (begin (note 'refused n) self)
        (begin (set! balance (- balance n)) (note 'out n) self)))
  (define (self message . arguments)
    (cond ((eq? message 'deposit) (apply deposit arguments))
          ((eq? message 'withdraw) (apply withdraw arguments))
          ((eq? message 'history) (reverse history))
          ((eq? message 'name) name)
          (else balance)))
  self)

(define seed (+ 42 workflow))
(define (random n)
  (set! seed (remainder (+ (* seed 1103515245) 12345) 2147483648))
  (remainder (quotient seed 65536) n))

(define (stored name) (let ((kept (recall 'sessions name))) (if kept (string->number kept) 1000)))
(define accounts (map (lambda (name) (make-account name (stored name))) '("ada" "grace" "alan" "edsger" "barbara")))
(define (transfer from to n)
  (let ((before (from 'balance)))
    (from 'withdraw n)
    (when (< (from 'balance) before) (to 'deposit n))))

(define (many n)
  (when (> n 0)
    (transfer (list-ref accounts (random 5)) (list-ref accounts (random 5)) (+ 1 (random 400)))
    (many (- n 1))))
(many (+ 20 (remainder workflow 20)))

; In the middle: the balances stay.
(for-each (lambda (account) (remember 'sessions (account 'name) (number->string (account 'balance)))) accounts)

(define total (fold (lambda (sum account) (+ sum (account 'balance))) 0 accounts))
(say "balances " (map (lambda (account) (account 'balance)) accounts) ", together " total)
(say (let ((account (list-ref accounts (remainder workflow 5)))) (list (account 'name) (account 'history))))
