/* parser.y: tokens to nodes (language-notes, section 1). Actions build nodes and nothing else; what a statement may mean where is the
 * elaborator's. A push parser: kd__parse gives it the filter's tokens one by one and may leave it at any time.
 *
 * Recovery: `error` stands for a statement, for what is in one pair of brackets, and for a statement's head before a block. The
 * driver skips to the end of what `error` stands for, so the token after an error is always one that fits. For this a rule may not go on
 * after a closing bracket of its own: what is in brackets is a nonterminal with them, so that a closed bracket leaves the stack. */
%define api.pure full
%define api.push-pull push
%define api.prefix {kd__yy}
%define api.location.type {kd_span}
%define api.value.type union
%define parse.lac full
%define parse.error custom
%locations
%expect 0
%param { kd__parser *p }

%code requires {
#include "compiler/front/syntax.h"
typedef struct kd__text { const char *text; double num; } kd__text;
}
%code {
#define YYINITDEPTH 200
#define YYMAXDEPTH (24 * KD_NEST_MAX)
#define YYLLOC_DEFAULT(to, rhs, n) ((to) = (n) ? kd__span_join(YYRHSLOC(rhs, 1), YYRHSLOC(rhs, n)) : after(YYRHSLOC(rhs, 0)))
static kd_span after(kd_span s) { return (kd_span){ s.src, s.at + s.len, 0 }; }
static void kd__yyerror(const kd_span *at, kd__parser *p, const char *what) { (void)at; (void)p; (void)what; }   /* only a full stack: kd__push says so */
#define N(KIND, ...) kd__node(p, KD_AST_##KIND, __VA_ARGS__)
#define NAMED(KIND, ...) kd__named(p, KD_AST_##KIND, __VA_ARGS__)
#define LIST(x) kd__list_new(p, x)
#define ADD(l, x) kd__list_add(p, l, x)
#define BINARY(at, sign, op, a, b) kd__binary_node(p, at, sign, op, a, b)
#define ERROR(at) kd__node(p, KD_AST_ERROR, at, NULL, 0)
static kd_ast *flagged(kd_ast *n, int flag) { n->flag |= (uint16_t)flag; return n; }
static kd_ast *widened(kd_ast *n, kd_span at) { n->span = at; n->flag |= KD_AST_PAREN; return n; }
}

%token END 0 "end of the file"
%token SEP "end of the statement"
%token <kd__text> NAME "a name" NUMBER "a number" STRING "a string"
/* Punctuation has the numbers of its characters: lexer and filter write it as such. */
%token LPAREN 40 "(" RPAREN 41 ")" LBRACK 91 "[" RBRACK 93 "]" LBRACE 123 "{" RBRACE 125 "}" COMMA 44 "," COLON 58 ":" DOT 46 "." QUESTION 63 "?"
       ASSIGN 61 "=" PLUS 43 "+" MINUS 45 "-" TIMES 42 "*" DIVIDE 47 "/" REMAINDER 37 "%" POWER 94 "^" LT 60 "<" GT 62 ">"
%token EQ "==" NE "!=" LE "<=" GE ">=" DOTS ".." ARROW "->" PIPE "|>"
%token <kd__text> IF "if" THEN "then" ELSE "else" FOR "for" IN "in" RETURN "return" LET "let" USE "use" FN "fn" AS "as" AND "and" OR "or"
                  NOT "not" TRUE "true" FALSE "false" NONE "none" YIELD "yield" LOSS "loss" NET "net" TRANSFORM "transform" SCHEME "scheme" OPTIMIZER "optimizer"
                  METRIC "metric" DATA "data" TEACHER "teacher" STUDENT "student" MODEL "model" TAP "tap" PARAM "param" STATE "state" STAGE "stage" TRAIN "train"
                  STEP "step" UPDATE "update" COPY "copy" RESET "reset" FREEZE "freeze" UNFREEZE "unfreeze" EVERY "every" REPEAT "repeat"
                  EVALUATE "evaluate" KEEP "keep" SAVE "save" REPORT "report" WRITE "write" MINIMIZING "minimizing" ON "on" USING "using" UNTIL "until" FROM "from"
                  TO "to" BEST "best" BY "by" ALONG "along" EXCEPT "except" KEYED "keyed" WITH "with" AT "at" LIKE "like" OF "of"
                  WHERE "where" EPOCHS "epochs" BATCHES "batches" STEPS "steps"

/* Loosest first (language-notes, section 3). */
%precedence REPEAT_NAME                           /* `repeat steps {` is a loop: `repeat` is a name of its own before other words */
%precedence "epochs" "batches" "steps"
%precedence LAMBDA
%left "|>"
%precedence "else"
%left "or"
%left "and"
%precedence "not"
%nonassoc "==" "!=" "<" "<=" ">" ">="
%nonassoc ".."
%left "+" "-"
%left "*" "/" "%"
%precedence NEGATIVE
%right "^"

%type <kd__text> name kind_word own_word net_word unit
%type <kd_ast *> evaluated opt_index stream pattern opt_where opt_keyed record renamed plain_n
%type <kd__list *> streams excepted
%type <kd_ast *> file block stmt junk use use_item path define body bind control loop if_stmt scheme_stmt stage_name train clause models shown shown_first
%type <kd_ast *> params param initial result type plain_type opt_type opt_from opt_until axes axis expr expr_n postfix postfix_n postfix_o trailer
%type <kd_ast *> primary_o number arg field elem comp sub index tname target target_axis target_part name_node
%type <kd__list *> open stmts items use_items several targets clauses models_list shown_list params_list types axes_list args args_list fields elems
%type <kd__list *> comps subs merged tnames target_axes names

%%

file: stmts[l]                               { p->syntax->file = $$ = N(FILE, @$, $l, 0); };
block: "{" stmts[l] "}"                      { $$ = N(BLOCK, @$, $l, 0); };
stmts: open | items | items SEP;
items: open[l] stmt[s]                       { $$ = ADD($l, $s); }
     | items[l] SEP stmt[s]                  { $$ = ADD($l, $s); }
     | items[l] junk[s]                      { $$ = ADD($l, $s); };   /* after a statement that is complete */
open: %empty                                 { $$ = LIST(NULL); if (!p->top) p->top = $$; };
stmt: use | define | bind | control | scheme_stmt | junk;
junk: error                                  { $$ = ERROR(@$); }
    | error block                            { $$ = ERROR(@$); };

use: "use" use_items[l]                      { $$ = N(USE, @$, $l, 0); };
use_items: use_item[i]                       { $$ = LIST($i); }
         | use_items[l] "," use_item[i]      { $$ = ADD($l, $i); };
use_item: path
        | path[i] "as" name[n]               { $$ = $i; $$->text2 = $n.text; $$->name = @n; $$->span = @$; };
path: name[n]                                { $$ = NAMED(USE_ITEM, @$, @n, $n.text, NULL, NULL, 0); }
    | path[i] "." NAME[n]                    { $$ = $i; $$->text = kd__arena_printf(p->arena, "%s.%s", $i->text, $n.text); $$->name = @n; $$->span = @$; };

/* --- definitions and bindings --- */
define: kind_word[w] name[n] params[a] result[t] body[b]
                                             { $$ = kd__document(p, NAMED(DEFINE, @$, @n, $n.text, $w.text, NULL, 3, $a, $t, $b)); }
      | "fn"[w] name[n] params[a] result[t] body[b]
                                             { $$ = kd__document(p, NAMED(DEFINE, @$, @n, $n.text, $w.text, NULL, 3, $a, $t, $b)); }
      | "scheme" block[b]                    { $$ = kd__document(p, N(SCHEME, @$, NULL, 1, $b)); };
body: block | "=" expr[e]                    { $$ = $e; };
result: %empty                               { $$ = NULL; }
      | "->" type[t]                         { $$ = $t; };
bind: kind_word[w] name[n] opt_type[t] "=" expr[e] opt_from[f]
                                             { $$ = kd__document(p, NAMED(BIND, @$, @n, $n.text, $w.text, NULL, 3, $t, $e, $f)); }
    | net_word[w] name[n] opt_type[t] "=" expr[e] opt_from[f]
                                             { $$ = kd__document(p, NAMED(BIND, @$, @n, $n.text, $w.text, NULL, 3, $t, $e, $f)); }
    | "tap"[w] name[n] opt_type[t] "=" expr[e] opt_from[f]
                                             { $$ = kd__document(p, NAMED(BIND, @$, @n, $n.text, $w.text, NULL, 3, $t, $e, $f)); }
    | net_word[w] name[n] "like" expr[e]     { $$ = kd__document(p, NAMED(BIND, @$, @n, $n.text, $w.text, NULL, 3, KD__NIL, N(LIKE, @e, NULL, 1, $e), KD__NIL)); }
    | net_word[w] name[n] opt_type[t] "=" expr[c] "of" expr[e]
                                             { $$ = kd__document(p, NAMED(BIND, @$, @n, $n.text, $w.text, NULL, 3, $t, N(OF, @$, NULL, 2, $c, $e), KD__NIL)); }
    | own_word[w] name[n] ":" type[t]        { $$ = kd__document(p, NAMED(BIND, @$, @n, $n.text, $w.text, NULL, 3, $t, KD__NIL, KD__NIL)); }
    | own_word[w] name[n] opt_type[t] "=" expr[e]
                                             { $$ = kd__document(p, NAMED(BIND, @$, @n, $n.text, $w.text, NULL, 3, $t, $e, KD__NIL)); }
    | "fn"[w] name[n] "=" expr[e]            { $$ = kd__document(p, NAMED(BIND, @$, @n, $n.text, $w.text, NULL, 3, KD__NIL, $e, KD__NIL)); }
    | "let"[w] name[n] opt_type[t] "=" expr[e]
                                             { $$ = kd__document(p, NAMED(BIND, @$, @n, $n.text, $w.text, NULL, 3, $t, $e, KD__NIL)); }
    | "let"[w] name[n] opt_type[t] "=" evaluated[e]
                                             { $$ = kd__document(p, NAMED(BIND, @$, @n, $n.text, $w.text, NULL, 3, $t, $e, KD__NIL)); }
    | "let" several[l] opt_type[t] "=" expr[e]
                                             { $$ = N(LET_MANY, @$, $l, 2, $t, $e); }
    | targets[l] "=" expr[e]                 { $$ = N(ASSIGN, @$, $l, 1, $e); }
    | postfix_n[e]                           { $$ = kd__statement(p, $e); };
evaluated: "evaluate" plain_n[e] "on" expr[d]
                                             { $$ = N(EVALUATE, @$, NULL, 2, N(SHOWN, @e, LIST(N(ARG, @e, NULL, 1, $e)), 0), $d); };
several: name_node[a] "," name_node[b]       { $$ = ADD(LIST($a), $b); }
       | several[l] "," name_node[n]         { $$ = ADD($l, $n); };
targets: postfix_n[e]                        { $$ = LIST($e); }
       | targets[l] "," postfix_n[e]         { $$ = ADD($l, $e); };
opt_type: %empty                             { $$ = NULL; }
        | ":" type[t]                        { $$ = $t; };
opt_from: %empty                             { $$ = NULL; }
        | "from" expr[e]                     { $$ = $e; };
kind_word: "loss" | "net" | "transform" | "scheme" | "optimizer" | "metric" | "data";
net_word: "teacher" | "student" | "model";
own_word: "param" | "state";

/* --- control --- */
control: "return" expr[e]                    { $$ = N(RETURN, @$, NULL, 1, $e); }
       | "yield" expr[e]                     { $$ = N(YIELD, @$, NULL, 1, $e); }
       | if_stmt
       | loop;
loop: "for" names[l] "in" expr[e] block[b]
                                             { $$ = N(FOR_IN, @$, $l, 2, $e, $b); }
    | "for" stream[s] "," streams[l] block[b]
                                             { $$ = N(FOR_STREAMS, @$, kd__list_before(p, $s, $l), 1, $b); }
    | "for" expr[e] unit[u] opt_until[t] block[b]
                                             { $$ = NAMED(FOR_COUNT, @$, @u, $u.text, NULL, NULL, 3, $e, $t, $b); }
    | "for" expr[e] block[b]                 { $$ = N(FOR_COUNT, @$, NULL, 3, $e, KD__NIL, $b); }
    | "repeat" expr_n[e] opt_index[i] opt_until[t] block[b]
                                             { $$ = N(REPEAT, @$, NULL, 4, $e, $t, $b, $i); }
    | "every" expr_n[e] unit[u] block[b]     { $$ = NAMED(EVERY, @$, @u, $u.text, NULL, NULL, 2, $e, $b); };
if_stmt: "if" expr[c] block[a]               { $$ = N(IF, @$, NULL, 2, $c, $a); }
       | "if" expr[c] block[a] "else" block[b]
                                             { $$ = N(IF, @$, NULL, 3, $c, $a, $b); }
       | "if" expr[c] block[a] "else" if_stmt[b]
                                             { $$ = N(IF, @$, NULL, 3, $c, $a, $b); };
opt_until: %empty                            { $$ = NULL; }
         | "until" expr[e]                   { $$ = $e; };
opt_index: %empty                            { $$ = NULL; }
         | "as" name_node[n]                 { $$ = $n; };
stream: names[l] "in" expr[e]                { $$ = kd__stream(p, @$, $l, $e); };
streams: stream[s]                           { $$ = LIST($s); }
       | streams[l] "," stream[s]            { $$ = ADD($l, $s); };
unit: "epochs" | "batches" | "steps";

/* --- schemes --- */
scheme_stmt: "stage" stage_name[n] ":" train[b]
                                             { $$ = N(STAGE, @$, NULL, 2, $n, $b); }
           | "stage" stage_name[n] ":" postfix_n[b]
                                             { $$ = N(STAGE, @$, NULL, 2, $n, kd__statement(p, $b)); }
           | "stage" stage_name[n] ":" loop[b]
                                             { $$ = N(STAGE, @$, NULL, 2, $n, $b); }
           | "stage" stage_name[n] ":" block[b]
                                             { $$ = N(STAGE, @$, NULL, 2, $n, $b); }
           | "stage" stage_name[n] block[b]  { $$ = N(STAGE, @$, NULL, 2, $n, $b); }
           | train
           | "step" models[m] "minimizing" expr[e]
                                             { $$ = N(STEP, @$, NULL, 2, $m, $e); }
           | "step" models[m] "minimizing" expr[e] "using" expr[u]
                                             { $$ = N(STEP, @$, NULL, 3, $m, $e, $u); }
           | "step" models[m] "along" expr[e]
                                             { $$ = N(STEP_ALONG, @$, NULL, 2, $m, $e); }
           | "step" models[m] "along" expr[e] "using" expr[u]
                                             { $$ = N(STEP_ALONG, @$, NULL, 3, $m, $e, $u); }
           | "update" postfix_n[t] "=" expr[e] opt_where[c]
                                             { $$ = N(UPDATE, @$, NULL, 3, $t, $e, $c); }
           | "copy" postfix_n[a] "to" postfix_n[b]
                                             { $$ = N(COPY, @$, NULL, 2, $a, $b); }
           | "copy" postfix_n[a] "to" postfix_n[b] "by" name[n]
                                             { $$ = NAMED(COPY, @$, @n, $n.text, NULL, NULL, 2, $a, $b); }
           | "write" name[n] record[r] opt_keyed[k] opt_where[c]
                                             { $$ = NAMED(WRITE, @$, @n, $n.text, NULL, NULL, 3, $r, $k, $c); }
           | "reset" models[m]               { $$ = N(RESET, @$, NULL, 1, $m); }
           | "freeze" models[m]              { $$ = N(FREEZE, @$, NULL, 1, $m); }
           | "unfreeze" models[m]            { $$ = N(UNFREEZE, @$, NULL, 1, $m); }
           | "evaluate" shown[s] "on" expr[e]
                                             { $$ = N(EVALUATE, @$, NULL, 2, $s, $e); }
           | "report" shown[s]               { $$ = N(REPORT, @$, NULL, 1, $s); }
           | "report" shown[s] "on" expr[e]  { $$ = N(REPORT, @$, NULL, 2, $s, $e); }
           | "keep" "best" "by" expr[e]      { $$ = N(KEEP_BEST, @$, NULL, 1, $e); }
           | "save" models[m] "to" expr[e]   { $$ = N(SAVE, @$, NULL, 2, $m, $e); };
stage_name: name_node
          | name_node[n] "[" subs[l] "]"     { $$ = N(INDEX, @$, $l, 1, $n); }
          | name_node "[" error "]"          { $$ = ERROR(@$); };
train: "train" models[m] "minimizing" expr[e] clauses[l]
                                             { $$ = N(TRAIN, @$, $l, 2, $m, $e); };
clauses: %empty                              { $$ = LIST(NULL); }
       | clauses[l] clause[c]                { $$ = ADD($l, $c); };
clause: "on"[w] expr[e]                      { $$ = NAMED(CLAUSE, @$, @w, $w.text, NULL, NULL, 1, $e); }
      | "for"[w] expr[e] unit[u]             { $$ = NAMED(CLAUSE, @$, @w, $w.text, $u.text, NULL, 1, $e); }
      | "until"[w] expr[e]                   { $$ = NAMED(CLAUSE, @$, @w, $w.text, NULL, NULL, 1, $e); }
      | "using"[w] expr[e]                   { $$ = NAMED(CLAUSE, @$, @w, $w.text, NULL, NULL, 1, $e); };
models: models_list[l]                       { $$ = N(MODELS, @$, $l, 0); }
      | models_list[l] "except" excepted[x]  { $$ = N(MODELS, @$, ADD($l, N(EXCEPT, @x, $x, 0)), 0); };
excepted: pattern[e]                         { $$ = LIST($e); }
        | excepted[l] "," pattern[e]         { $$ = ADD($l, $e); };
pattern: postfix_n
       | STRING[s]                           { $$ = NAMED(STRING, @$, @s, $s.text, NULL, NULL, 0); $$->num = $s.num; };
opt_where: %empty                            { $$ = NULL; }
         | "where" expr[e]                   { $$ = $e; };
opt_keyed: %empty                            { $$ = NULL; }
         | "keyed" expr[e]                   { $$ = $e; };
record: "(" fields[l] ")"                    { $$ = N(RECORD, @$, $l, 0); }
      | "(" fields[l] "," ")"                { $$ = N(RECORD, @$, $l, 0); };
models_list: postfix_n[e]                    { $$ = LIST($e); }
           | models_list[l] "," postfix_n[e] { $$ = ADD($l, $e); };
shown: shown_list[l]                         { $$ = N(SHOWN, @$, $l, 0); };
shown_list: shown_first[a]                   { $$ = LIST($a); }
          | shown_list[l] "," arg[a]         { $$ = ADD($l, $a); };
shown_first: expr_n[e]                       { $$ = N(ARG, @$, NULL, 1, $e); }
           | name[n] ":" expr[e]             { $$ = NAMED(ARG, @$, @n, $n.text, NULL, NULL, 1, $e); };

/* --- parameters and types --- */
params: "(" ")"                              { $$ = N(PARAMS, @$, NULL, 0); }
      | "(" params_list[l] ")"               { $$ = N(PARAMS, @$, $l, 0); }
      | "(" params_list[l] "," ")"           { $$ = N(PARAMS, @$, $l, 0); }
      | "(" error ")"                        { $$ = N(PARAMS, @$, NULL, 0); };
params_list: param[a]                        { $$ = LIST($a); }
           | params_list[l] "," param[a]     { $$ = ADD($l, $a); };
param: name[n] opt_type[t] initial[e]        { $$ = kd__document(p, NAMED(PARAM, @$, @n, $n.text, NULL, NULL, 2, $t, $e)); };
initial: %empty                              { $$ = NULL; }
       | "=" expr[e]                         { $$ = $e; };
type: plain_type
    | plain_type[t] "?"                      { $$ = flagged($t, KD_AST_OPTIONAL); $$->span = @$; };
plain_type: axes[a]                          { $$ = N(TYPE, @$, NULL, 1, $a); }
    | name[n]                                { $$ = NAMED(TYPE, @$, @n, $n.text, NULL, NULL, 0); }
    | name[n] axes[a]                        { $$ = NAMED(TYPE, @$, @n, $n.text, NULL, NULL, 1, $a); }
    | name[n] "(" types[l] ")"               { $$ = NAMED(TYPE_ARGS, @$, @n, $n.text, NULL, $l, 0); }
    | "(" params_list[l] ")"                 { $$ = N(TYPE_RECORD, @$, $l, 0); }
    | name "(" error ")"                     { $$ = N(TYPE, @$, NULL, 0); }
    | "(" error ")"                          { $$ = N(TYPE, @$, NULL, 0); };
types: type[t]                               { $$ = LIST($t); }
     | types[l] "," type[t]                  { $$ = ADD($l, $t); };
axes: "[" "]"                                { $$ = N(AXES, @$, NULL, 0); }
    | "[" axes_list[l] "]"                   { $$ = N(AXES, @$, $l, 0); }
    | "[" error "]"                          { $$ = N(AXES, @$, NULL, 0); };
axes_list: axis[a]                           { $$ = LIST($a); }
         | axes_list[l] "," axis[a]          { $$ = ADD($l, $a); };
axis: name[n]                                { $$ = NAMED(AXIS, @$, @n, $n.text, NULL, NULL, 0); }
    | name[n] ":" expr[e]                    { $$ = NAMED(AXIS, @$, @n, $n.text, NULL, NULL, 1, $e); }
    | name[n] "?"                            { $$ = flagged(NAMED(AXIS, @$, @n, $n.text, NULL, NULL, 0), KD_AST_OPTIONAL); }
    | name[n] "?" ":" expr[e]                { $$ = flagged(NAMED(AXIS, @$, @n, $n.text, NULL, NULL, 1, $e), KD_AST_OPTIONAL); }
    | name[n] ".."                           { $$ = flagged(NAMED(AXIS, @$, @n, $n.text, NULL, NULL, 0), KD_AST_REST_AXIS); }
    | ".."                                   { $$ = flagged(N(AXIS, @$, NULL, 0), KD_AST_REST_AXIS); };

/* --- expressions; expr_n are those that begin with a name or a number --- */
expr: postfix
    | postfix[a] "at" postfix[b]             { $$ = N(AT, @$, NULL, 2, $a, $b); }
    | postfix[a] "with" record[r]            { $$ = kd__with(p, @$, $a, $r); }
    | "for" names[l] "in" expr[e] block[b]   { $$ = N(FOR_IN, @$, $l, 2, $e, $b); }
    | "repeat" plain_n[e] opt_index[i] opt_until[t] block[b]
                                             { $$ = N(REPEAT, @$, NULL, 4, $e, $t, $b, $i); }
    | expr[a] "|>"[o] expr[b]                { $$ = BINARY(@$, @o, "|>", $a, $b); }
    | expr[a] "or"[o] expr[b]                { $$ = BINARY(@$, @o, "or", $a, $b); }
    | expr[a] "and"[o] expr[b]               { $$ = BINARY(@$, @o, "and", $a, $b); }
    | expr[a] "=="[o] expr[b]                { $$ = BINARY(@$, @o, "==", $a, $b); }
    | expr[a] "!="[o] expr[b]                { $$ = BINARY(@$, @o, "!=", $a, $b); }
    | expr[a] "<"[o] expr[b]                 { $$ = BINARY(@$, @o, "<", $a, $b); }
    | expr[a] "<="[o] expr[b]                { $$ = BINARY(@$, @o, "<=", $a, $b); }
    | expr[a] ">"[o] expr[b]                 { $$ = BINARY(@$, @o, ">", $a, $b); }
    | expr[a] ">="[o] expr[b]                { $$ = BINARY(@$, @o, ">=", $a, $b); }
    | expr[a] ".."[o] expr[b]                { $$ = BINARY(@$, @o, "..", $a, $b); }
    | expr[a] "+"[o] expr[b]                 { $$ = BINARY(@$, @o, "+", $a, $b); }
    | expr[a] "-"[o] expr[b]                 { $$ = BINARY(@$, @o, "-", $a, $b); }
    | expr[a] "*"[o] expr[b]                 { $$ = BINARY(@$, @o, "*", $a, $b); }
    | expr[a] "/"[o] expr[b]                 { $$ = BINARY(@$, @o, "/", $a, $b); }
    | expr[a] "%"[o] expr[b]                 { $$ = BINARY(@$, @o, "%", $a, $b); }
    | expr[a] "^"[o] expr[b]                 { $$ = BINARY(@$, @o, "^", $a, $b); }
    | "-"[o] expr[a] %prec NEGATIVE          { $$ = NAMED(UNARY, @$, @o, "-", NULL, NULL, 1, $a); }
    | "not"[o] expr[a]                       { $$ = NAMED(UNARY, @$, @o, "not", NULL, NULL, 1, $a); }
    | "if" expr[c] "then" expr[a] "else" expr[b]
                                             { $$ = N(IF_EXPR, @$, NULL, 3, $c, $a, $b); }
    | "fn" params[a] result[t] "=" expr[b] %prec LAMBDA
                                             { $$ = N(LAMBDA, @$, NULL, 3, $a, $t, $b); };
expr_n: postfix_n
    | number
    | expr_n[a] "|>"[o] expr[b]              { $$ = BINARY(@$, @o, "|>", $a, $b); }
    | expr_n[a] "or"[o] expr[b]              { $$ = BINARY(@$, @o, "or", $a, $b); }
    | expr_n[a] "and"[o] expr[b]             { $$ = BINARY(@$, @o, "and", $a, $b); }
    | expr_n[a] "=="[o] expr[b]              { $$ = BINARY(@$, @o, "==", $a, $b); }
    | expr_n[a] "!="[o] expr[b]              { $$ = BINARY(@$, @o, "!=", $a, $b); }
    | expr_n[a] "<"[o] expr[b]               { $$ = BINARY(@$, @o, "<", $a, $b); }
    | expr_n[a] "<="[o] expr[b]              { $$ = BINARY(@$, @o, "<=", $a, $b); }
    | expr_n[a] ">"[o] expr[b]               { $$ = BINARY(@$, @o, ">", $a, $b); }
    | expr_n[a] ">="[o] expr[b]              { $$ = BINARY(@$, @o, ">=", $a, $b); }
    | expr_n[a] ".."[o] expr[b]              { $$ = BINARY(@$, @o, "..", $a, $b); }
    | expr_n[a] "+"[o] expr[b]               { $$ = BINARY(@$, @o, "+", $a, $b); }
    | expr_n[a] "-"[o] expr[b]               { $$ = BINARY(@$, @o, "-", $a, $b); }
    | expr_n[a] "*"[o] expr[b]               { $$ = BINARY(@$, @o, "*", $a, $b); }
    | expr_n[a] "/"[o] expr[b]               { $$ = BINARY(@$, @o, "/", $a, $b); }
    | expr_n[a] "%"[o] expr[b]               { $$ = BINARY(@$, @o, "%", $a, $b); }
    | expr_n[a] "^"[o] expr[b]               { $$ = BINARY(@$, @o, "^", $a, $b); };

plain_n: NUMBER[n]                           { $$ = kd__number(p, NAMED(NUMBER, @$, @n, $n.text, NULL, NULL, 0), $n.num); }
       | NAME[n]                             { $$ = NAMED(NAME, @$, @n, $n.text, NULL, NULL, 0); }
       | unit[n]                             { $$ = NAMED(NAME, @$, @n, $n.text, NULL, NULL, 0); }
       | plain_n[a] trailer[t]               { $$ = kd__attach(p, @$, $a, $t); };
postfix: postfix_n | postfix_o;
postfix_n: name[n]                           { $$ = NAMED(NAME, @$, @n, $n.text, NULL, NULL, 0); }
         | postfix_n[a] trailer[t]           { $$ = kd__attach(p, @$, $a, $t); };
postfix_o: primary_o
         | postfix_o[a] trailer[t]           { $$ = kd__attach(p, @$, $a, $t); };
trailer: "(" args[l] ")"                     { $$ = N(CALL, @$, $l, 1, KD__NIL); }
       | "[" subs[l] "]"                     { $$ = N(INDEX, @$, $l, 1, KD__NIL); }
       | "." NAME[n]                         { $$ = NAMED(FIELD, @$, @n, $n.text, NULL, NULL, 1, KD__NIL); }
       | "(" error ")"                       { $$ = ERROR(@$); }
       | "[" error "]"                       { $$ = ERROR(@$); };
primary_o: number
         | STRING[s]                         { $$ = NAMED(STRING, @$, @s, $s.text, NULL, NULL, 0); $$->num = $s.num; }
         | "true"                            { $$ = N(TRUE, @$, NULL, 0); }
         | "false"                           { $$ = N(FALSE, @$, NULL, 0); }
         | "none"                            { $$ = N(NONE, @$, NULL, 0); }
         | "(" expr[e] ")"                   { $$ = widened($e, @$); }
         | "(" ")"                           { $$ = N(RECORD, @$, NULL, 0); }
         | record
         | "(" error ")"                     { $$ = ERROR(@$); }
         | "[" "]"                           { $$ = N(LIST, @$, NULL, 0); }
         | "[" elems[l] "]"                  { $$ = N(LIST, @$, $l, 0); }
         | "[" elems[l] "," "]"              { $$ = N(LIST, @$, $l, 0); }
         | "[" expr[e] comps[l] "]"          { $$ = N(COMPREHENSION, @$, $l, 1, $e); }
         | "[" error "]"                     { $$ = ERROR(@$); };
number: NUMBER[n]                            { $$ = kd__number(p, NAMED(NUMBER, @$, @n, $n.text, NULL, NULL, 0), $n.num); };

args: %empty                                 { $$ = LIST(NULL); }
    | args_list
    | args_list ",";
args_list: arg[a]                            { $$ = LIST($a); }
         | args_list[l] "," arg[a]           { $$ = ADD($l, $a); };
arg: expr[e]                                 { $$ = N(ARG, @$, NULL, 1, $e); }
   | field;
fields: field[a]                             { $$ = LIST($a); }
      | fields[l] "," field[a]               { $$ = ADD($l, $a); };
field: name[n] ":" expr[e]                   { $$ = NAMED(ARG, @$, @n, $n.text, NULL, NULL, 1, $e); };
elems: elem[a]                               { $$ = LIST($a); }
     | elems[l] "," elem[a]                  { $$ = ADD($l, $a); };
elem: expr
    | field
    | ".."                                   { $$ = N(REST, @$, NULL, 0); };
comps: comp[a]                               { $$ = LIST($a); }
     | comps[l] comp[a]                      { $$ = ADD($l, $a); };
comp: "for" names[l] "in" expr[e]            { $$ = N(COMP, @$, $l, 2, $e, KD__NIL); }
    | "for" names[l] "in" expr[e] "if" expr[c]
                                             { $$ = N(COMP, @$, $l, 2, $e, $c); };

/* --- indices and views --- */
subs: sub[a]                                 { $$ = LIST($a); }
    | subs[l] "," sub[a]                     { $$ = ADD($l, $a); };
sub: index[e]                                { $$ = N(SUB, @$, NULL, 1, $e); }
   | name[n] ":" index[e]                    { $$ = NAMED(SUB, @$, @n, $n.text, NULL, NULL, 1, $e); }
   | ".."                                    { $$ = N(REST, @$, NULL, 0); }
   | name_node[s] "where" expr[c]            { $$ = N(MASK, @$, NULL, 2, $s, $c); }
   | renamed
   | renamed[v] "where" expr[c]              { $$ = N(MASK, @$, NULL, 2, $v, $c); };
renamed: tname[s] "as" target[t]             { $$ = kd__view(p, @$, LIST($s), $t, 0); }
       | merged[l] "as" target[t]            { $$ = kd__view(p, @$, $l, $t, KD_AST_MERGE); };
index: expr
     | expr[a] ".."                          { $$ = N(RANGE_FROM, @$, NULL, 1, $a); }
     | ".." expr[b]                          { $$ = N(RANGE_TO, @$, NULL, 1, $b); };
merged: "(" tnames[l] ")"                    { $$ = $l; };
tnames: tname[a] "," tname[b]                { $$ = ADD(LIST($a), $b); }
      | tnames[l] "," tname[n]               { $$ = ADD($l, $n); };
tname: name_node
     | ".."                                  { $$ = N(REST, @$, NULL, 0); };
target: target_axis[a]                       { $$ = N(AXES, @$, LIST($a), 0); }
      | "(" target_axes[l] ")"               { $$ = N(AXES, @$, $l, 0); }
      | "(" error ")"                        { $$ = ERROR(@$); };
target_axes: target_part[a]                  { $$ = LIST($a); }
           | target_axes[l] "," target_part[a]
                                             { $$ = ADD($l, $a); };
target_part: target_axis
           | name[n] ":" expr[e]             { $$ = NAMED(AXIS, @$, @n, $n.text, NULL, NULL, 1, $e); };
target_axis: name[n]                         { $$ = NAMED(AXIS, @$, @n, $n.text, NULL, NULL, 0); };

names: name_node[a]                          { $$ = LIST($a); }
     | names[l] "," name_node[a]             { $$ = ADD($l, $a); };
name_node: name[n]                           { $$ = NAMED(NAME, @$, @n, $n.text, NULL, NULL, 0); };
name: NAME | LOSS | NET | TRANSFORM | SCHEME | OPTIMIZER | METRIC | DATA | TEACHER | STUDENT | MODEL | TAP | PARAM | STATE | STAGE | TRAIN | STEP
      | UPDATE | COPY | RESET | FREEZE | UNFREEZE | EVERY | REPEAT %prec REPEAT_NAME | EVALUATE | KEEP | SAVE | REPORT | MINIMIZING | ON | USING | UNTIL | FROM | TO
      | BEST | BY | WRITE | ALONG | EXCEPT | KEYED | WITH | AT | LIKE | OF | WHERE | EPOCHS | BATCHES | STEPS;

%%

static int yyreport_syntax_error(const yypcontext_t *context, kd__parser *p) {
  yysymbol_kind_t kinds[YYNTOKENS];
  const char *expected[YYNTOKENS];
  int n = kd__sink_full(p->sink) ? 0 : yypcontext_expected_tokens(context, kinds, YYNTOKENS);
  for (int i = 0; i < n; i++) expected[i] = yysymbol_name(kinds[i]);
  kd__refuse(p, expected, n);
  return 0;
}

const char *kd__token_name(int kind) { return yysymbol_name(YYTRANSLATE(kind)); }

kd__state *kd__state_new(void) { return kd__yypstate_new(); }
void kd__state_free(kd__state *s) { kd__yypstate_delete(s); }

int kd__push(kd__state *s, kd__parser *p, const kd__token *t) {
  KD__YYSTYPE value = { .NAME = { t->text, t->num } };
  KD__YYLTYPE at = t->span;
  s->yyerrstatus = 0;                            /* when to be silent after an error is the driver's, which sees brackets */
  switch (kd__yypush_parse(s, t->kind, &value, &at, p)) {
    case YYPUSH_MORE: return KD__PUSH_MORE;
    case 0: return KD__PUSH_DONE;
    case 1: return KD__PUSH_GIVEN_UP;
    default: return KD__PUSH_FULL;
  }
}
