; Symbolic derivatives, simplified, then evaluated.
(define (say . parts) (for-each display parts) (newline))

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

(define (value x at)
  (cond ((number? x) x)
        ((symbol? x) (if (eq? x 'x) at 2))
        ((eq? (car x) '+) (+ (value (cadr x) at) (value (caddr x) at)))
        (else (* (value (cadr x) at) (value (caddr x) at)))))

; x to the n, plus a term of lower power with a factor.
(define (power n) (if (= n 1) 'x (list '* 'x (power (- n 1)))))
(define degree (+ 2 (remainder workflow 4)))
(define f (list '+ (power degree) (list '* (+ 1 (remainder workflow 9)) (power (- degree 1)))))
(define first-derivative (simplify (derive f 'x)))

(define name (string-append "f" (number->string degree) "-" (number->string (+ 1 (remainder workflow 9)))))
(define result (number->string (value first-derivative 3)))
; The first derivative waits for the second one while the cache grows.
(if (recall 'cache name)
    (when (not (equal? (recall 'cache name) result)) (error "another value than before" name))
    (remember 'cache name result))
(define second-derivative (simplify (derive first-derivative 'x)))
(say name ": " first-derivative)
(say "at 3: " (recall 'cache name) ", then " (value second-derivative 3))
