; Lisp in Lisp: environments are lists of frames, a frame a list of (name . value).
(define (say . parts) (for-each display parts) (newline))

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
  (let ((env (list (list (cons '+ +) (cons '- -) (cons '* *) (cons '< <) (cons 'cons cons)
                         (cons 'keep (lambda (name n) (remember 'sessions name (number->string n)) n))))))
    (fold (lambda (last x) (evaluate x env)) #f program)))

(define n (+ 5 (remainder workflow 4)))
; The inner program writes into the always-active tables, from three levels of interpreters below.
(say "inner Lisp: "
     (inner-lisp
      `((define fact (lambda (n) (if (< n 2) 1 (* n (fact (- n 1))))))
        (define fib (lambda (n) (if (< n 2) n (+ (fib (- n 1)) (fib (- n 2))))))
        (define twice (lambda (f) (lambda (x) (f (f x)))))
        (cons (keep "inner fact" (fact ,(+ n 4)))
              (cons (fib ,n) (cons (((twice (twice twice)) (lambda (x) (+ x 3))) ,workflow) '()))))))
(when (= (remainder workflow 8) 4)
  (remember 'journal (string-append "inner " (number->string workflow)) (recall 'sessions "inner fact")))
(say "kept: " (recall 'sessions "inner fact"))
