/* The grammar: precedence, words as names, newlines, the kids of each kind as ast.def words them, recovery. */
#include "tests/front/front.h"

static void shape(const kd_ast *n, kd__buf *out) {
  switch (n->kind) {
    case KD_AST_NAME: case KD_AST_NUMBER: kd__buf_puts(out, n->text); return;
    case KD_AST_ARG:
      if (n->text) kd__buf_printf(out, "%s: ", n->text);
      shape(n->kid[0], out);
      return;
    case KD_AST_BINARY: case KD_AST_UNARY: kd__buf_printf(out, "(%s", n->text); break;
    case KD_AST_FIELD: kd__buf_printf(out, "(.%s", n->text); break;
    default: kd__buf_printf(out, "(%s", kd__ast_kind_name((kd_ast_kind)n->kind)); break;
  }
  for (uint32_t i = 0; i < n->n; i++) { kd__buf_putc(out, ' '); if (n->kid[i]) shape(n->kid[i], out); else kd__buf_putc(out, '_'); }
  kd__buf_putc(out, ')');
}

static void is(const char *expr, const char *want) {
  front f;
  char text[256];
  snprintf(text, sizeof text, "let it = %s\n", expr);
  front_parse(&f, text);
  if (f.sink.errors) fail_msg("%s: %s", expr, front_diags(&f));
  assert_int_equal(f.syn->file->n, 1);
  f.out.n = 0;
  shape(f.syn->file->kid[0]->kid[1], &f.out);
  assert_string_equal(f.out.p, want);
  front_end(&f);
}

static void precedence(void **s) {
  (void)s;
  is("a + b * c", "(+ a (* b c))");
  is("a - b - c", "(- (- a b) c)");
  is("a / b * c % d", "(% (* (/ a b) c) d)");
  is("-x^2", "(- (^ x 2))");
  is("2^-3", "(^ 2 (- 3))");
  is("2^-3 * 4", "(* (^ 2 (- 3)) 4)");
  is("a^b^c", "(^ a (^ b c))");
  is("-a * b", "(* (- a) b)");
  is("a - -b", "(- a (- b))");
  is("not a == b", "(not (== a b))");
  is("not a and b or c", "(or (and (not a) b) c)");
  is("a or b and c", "(or a (and b c))");
  is("a < b and c >= d", "(and (< a b) (>= c d))");
  is("0..n-1", "(.. 0 (- n 1))");
  is("a..b == c..d", "(== (.. a b) (.. c d))");
  is("x |> f(a) |> g", "(|> (|> x (call f a)) g)");
  is("if c then a else b + 1", "(if_expr c a (+ b 1))");
  is("if c then a else b |> f", "(|> (if_expr c a b) f)");
  is("a + if c then 1 else 2 * d", "(+ a (if_expr c 1 (* 2 d)))");
  is("if a then b else if c then d else e", "(if_expr a b (if_expr c d e))");
  is("fn(x) = x + 1 |> f", "(lambda (params (param)) _ (|> (+ x 1) f))");
  is("a |> fn(x) = x or b", "(|> a (lambda (params (param)) _ (or x b)))");
  is("f(a)(b).c[0]", "(index (.c (call (call f a) b)) (sub 0))");
  is("-f(x).y^2", "(- (^ (.y (call f x)) 2))");
  is("(a + b) * c", "(* (+ a b) c)");
  is("f(a, b: c + 1,)", "(call f a b: (+ c 1))");
}

static void literals_lists_records(void **s) {
  (void)s;
  is("()", "(record)");
  is("(a: 1, b: x,)", "(record a: 1 b: x)");
  is("[]", "(list)");
  is("[a, B: 3, ..,]", "(list a B: 3 (rest))");
  is("[f(x) for x in xs if x > 0 for y in 0..3]", "(comprehension (call f x) (comp xs (> x 0) x) (comp (.. 0 3) _ y))");
  is("[a for i, a in xs]", "(comprehension a (comp xs _ i a))");
  is("f(as: h, for: 1)", "(call f as: h for: 1)");          /* reserved words are labels */
  is("x.for.in.as", "(.as (.in (.for x)))");
  is("true", "(true)");
  is("none", "(none)");
}

static void indices_and_views(void **s) {
  (void)s;
  is("x[0, 1..3, a.., ..b, ..]", "(index x (sub 0) (sub (.. 1 3)) (sub (range_from a)) (sub (range_to b)) (rest))");
  is("x[T: 0, K: 1.., L: ..n]", "(index x (sub 0) (sub (range_from 1)) (sub (range_to n)))");
  is("x[a + 1 .. b * 2]", "(index x (sub (.. (+ a 1) (* b 2))))");
  is("x[B as i]", "(index x (view B (axes (axis))))");
  is("x[(H, W) as N]", "(index x (view H W (axes (axis))))");
  is("x[(.., W) as N, .. as M]", "(index x (view (rest) W (axes (axis))) (view (rest) (axes (axis))))");
  is("x[D as (h: 8, d)]", "(index x (view D (axes (axis 8) (axis))))");
  is("x[(h, e) as (f: 3, g)]", "(index x (view h e (axes (axis 3) (axis))))");
  is("x[H, W as N]", "(index x (sub H) (view W (axes (axis))))");
  is("x[(a + b)]", "(index x (sub (+ a b)))");
}

static const char *const contextual[] = {
  "loss", "net", "transform", "scheme", "optimizer", "metric", "data", "teacher", "student", "model", "tap", "param", "state", "stage", "train", "step", "update",
  "copy", "reset", "freeze", "unfreeze", "every", "repeat", "evaluate", "keep", "save", "report", "write", "minimizing", "on", "using", "until", "from", "to", "best",
  "by", "along", "except", "keyed", "with", "at", "like", "of", "where", "epochs", "batches", "steps" };

/* Every contextual word in every place of a name. `%s` is the word. */
static const char *const places[] = {
  "let %s = 1\n", "%s = 1\n", "%s, a = f(1)\n", "a, %s = f(1)\n", "let %s, a = f(1)\n", "let a, %s = f(1)\n", "let a = %s\n", "let a = %s + 1\n", "let a = 1 + %s\n",
  "let a = %s(1)\n", "let a = %s.x\n", "let a = x.%s\n", "let a = %s[0]\n", "let a = f(%s, 1)\n", "let a = f(%s: 1)\n", "let a = (%s: 1)\n", "let a = (%s)\n",
  "let a = [%s, 1]\n", "let a = [%s: 3]\n", "let a = [%s for %s in %s]\n", "let a = x[%s]\n", "let a = x[%s: 0]\n", "let a = x[%s as b]\n", "let a = x[b as %s]\n",
  "let a = x[(%s, b) as c]\n", "let a = x[b as (%s: 2, c)]\n", "let a: [%s] = x\n", "let a: %s = x\n", "let a: [%s..] = x\n", "let a: [%s: 3] = x\n",
  "fn %s(x) = x\n", "fn f(%s) = 1\n", "fn f(a, %s: int = 3) = 1\n", "net %s(x) { return x }\n", "loss %s = x\n", "scheme %s(x) { train x minimizing y }\n",
  "teacher %s = x\n", "param %s: [B] = x\n", "state %s = x\n", "use %s\n", "use a.%s as %s\n", "for %s in xs { a = 1 }\n", "for %s, b in xs { a = 1 }\n",
  "for a in %s { b = 1 }\n", "for %s epochs { b = 1 }\n", "for %s steps until %s { b = 1 }\n", "repeat %s { b = 1 }\n", "repeat 3 until %s { b = 1 }\n",
  "every %s steps { b = 1 }\n", "if %s { b = 1 }\n", "if %s == 1 { b = 1 } else if %s { b = 2 }\n", "let a = if %s then %s else %s\n", "return %s\n",
  "stage %s: train %s minimizing %s on %s for %s epochs using %s until %s\n", "stage %s { train a minimizing b }\n", "train a, %s minimizing b\n",
  "step %s minimizing %s using %s\n", "update %s = 1\n", "update %s[%s] = 1\n", "copy %s to %s\n", "reset %s\n", "freeze %s, %s\n", "unfreeze %s\n", "evaluate %s on %s\n",
  "report %s, %s on %s\n", "report %s: x on y\n", "report a, %s: x on y\n", "keep best by %s\n", "save %s to %s\n", "let a = b |> %s\n", "let a = -%s\n", "let a = not %s\n",
  "loss a = %s from %s\n", "let a = fn(%s) = %s\n", "let a = %s^%s\n", "let a = 0..%s\n", "let a = b\n%s = 2\n", "let a = b\n%s.c(1)\n" };

static void words_are_names(void **s) {
  (void)s;
  char text[512];
  for (size_t w = 0; w < sizeof contextual / sizeof *contextual; w++)
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
      if (strcmp(contextual[w], "repeat") == 0 && strstr(places[i], "for %s ") && !strstr(places[i], " in ")) continue;   /* `repeat epochs {` is a loop */
      char *o = text;
      for (const char *p = places[i]; *p; p++) {
        if (*p != '%') { *o++ = *p; continue; }
        o += sprintf(o, "%s", contextual[w]);
        p++;
      }
      *o = 0;
      front f;
      front_parse(&f, text);
      if (f.sink.errors) fail_msg("%s", front_diags(&f));
      front_end(&f);
    }
}

/* The words above and those of the table are the same. */
static void the_words_are_all(void **s) {
  (void)s;
  static const char *const words[] = {
#define KD_WORD(TOKEN, text, class) #class " " text,
#include "compiler/front/words.def"
#undef KD_WORD
  };
  size_t n = 0;
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    const char *text = strchr(words[i], ' ') + 1;
    if (strncmp(words[i], "RESERVED", 8) == 0) {
      front f;
      char line[64];
      snprintf(line, sizeof line, "let %s = 1\n", text);
      front_parse(&f, line);
      assert_true(f.sink.errors > 0);
      front_end(&f);
      continue;
    }
    assert_true(n < sizeof contextual / sizeof *contextual);
    assert_string_equal(text, contextual[n]);
    n++;
  }
  assert_int_equal(n, sizeof contextual / sizeof *contextual);
}

static size_t statements(const char *text) {
  front f;
  front_parse(&f, text);
  if (f.sink.errors) fail_msg("%s", front_diags(&f));
  size_t n = f.syn->file->n;
  front_end(&f);
  return n;
}

static void newlines(void **s) {
  (void)s;
  assert_int_equal(statements("a = 1\nb = 2"), 2);
  assert_int_equal(statements("a = 1; b = 2;\n;;\n\nc = 3\n"), 3);
  assert_int_equal(statements("a = 1 +\n2\n"), 1);
  assert_int_equal(statements("a = 1\n+ 2\n- 3\n* 4\n"), 1);
  assert_int_equal(statements("a =\n\n1\nb\n= 2"), 2);
  assert_int_equal(statements("a = f(1,\n\n2\n)\nb = [\n1\n,\n2\n]\n"), 2);
  assert_int_equal(statements("a = x\n|> f\n|> g\n.h\n"), 1);
  assert_int_equal(statements("a = if b\nthen c\nelse d\n"), 1);
  assert_int_equal(statements("if a\n{\nb = 1\n}\nelse\n{\nc = 1\n}\nd = 1\n"), 2);
  assert_int_equal(statements("train A minimizing b\non c for 3 epochs\nusing d\nuntil e\nfor x in y { z = 1 }\n"), 2);
  assert_int_equal(statements("train A\nminimizing b\n"), 1);
  assert_int_equal(statements("save A\nto \"f\"\ncopy A\nto B\n"), 2);
  assert_int_equal(statements("a = b\non = 3\nto.x(1)\nfrom[0] = 1\nby, c = f(1)\n"), 5);   /* names, by what follows */
  assert_int_equal(statements("a = true\nb = none\nc = x.for\nd = 1\n"), 4);
  assert_int_equal(statements("net f(x) { return x }; net g(x) { return x }\nlet a: T?\n= 1\n"), 3);
  assert_int_equal(statements("fn f(x) -> [B]\n{ return x }\nstage a: train A minimizing b\nstage b:\ntrain A minimizing b\n"), 3);
  assert_int_equal(statements("\xef\xbb\xbf\r\na = 1\r\nb = 2\r\n"), 2);                      /* a byte order mark, CR LF */
  assert_int_equal(statements("a = 1 // one\n// two\n/// three\nfn f(x) = x //"), 2);
}

/* Kids of a parsed statement by their roles. */
static kd_ast *statement(front *f, const char *text, int kind) {
  front_parse(f, text);
  if (f->sink.errors) fail_msg("%s", front_diags(f));
  kd_ast *n = f->syn->file->kid[0];
  assert_int_equal(n->kind, kind);
  return n;
}

static void kids_of_definitions(void **s) {
  (void)s;
  front f;
  kd_ast *n = statement(&f, "/// One.\n///   two \n// not this\n/// three\nnet f(a: [B, D?, P.., ..], /// of b\n  b: real? = 3, c = 1) -> (l: [B], m: list(int[B], T)) { return a }", KD_AST_DEFINE);
  assert_string_equal(n->text, "f");
  assert_string_equal(n->text2, "net");
  assert_string_equal(n->doc, "One.\n  two\nthree");
  assert_int_equal(n->n, 3);
  assert_true(n->name.len == 1 && f.src->text[n->name.at] == 'f');
  const kd_ast *p = n->kid[0], *axes = p->kid[0]->kid[0]->kid[0];
  assert_int_equal(p->n, 3);
  assert_int_equal(axes->n, 4);
  assert_int_equal(axes->kid[1]->flag, KD_AST_OPTIONAL);
  assert_true(axes->kid[2]->flag == KD_AST_REST_AXIS && strcmp(axes->kid[2]->text, "P") == 0);
  assert_true(axes->kid[3]->flag == KD_AST_REST_AXIS && !axes->kid[3]->text && axes->kid[3]->n == 0);
  assert_string_equal(p->kid[1]->doc, "of b");
  assert_true(p->kid[1]->kid[0]->flag == KD_AST_OPTIONAL && p->kid[1]->n == 2);
  assert_true(!p->kid[2]->kid[0] && p->kid[2]->kid[1]->num == 1 && p->kid[2]->kid[1]->flag == KD_AST_INTEGER);
  assert_int_equal(n->kid[1]->kind, KD_AST_TYPE_RECORD);
  assert_int_equal(n->kid[1]->kid[1]->kid[0]->kind, KD_AST_TYPE_ARGS);
  assert_int_equal(n->kid[2]->kind, KD_AST_BLOCK);
  front_end(&f);
  n = statement(&f, "fn g(x) = x", KD_AST_DEFINE);
  assert_true(n->n == 3 && !n->kid[1] && n->kid[2]->kind == KD_AST_NAME && !n->doc);
  front_end(&f);
}

static void kids_of_bindings(void **s) {
  (void)s;
  front f;
  kd_ast *n = statement(&f, "teacher T: net = a from \"w\"", KD_AST_BIND);
  assert_true(n->n == 3 && strcmp(n->text2, "teacher") == 0 && n->kid[2]->kind == KD_AST_STRING);
  front_end(&f);
  n = statement(&f, "let a = b", KD_AST_BIND);
  assert_true(n->n == 2 && !n->kid[0] && n->kid[1] && !n->kid[2]);             /* kids past n may be read */
  front_end(&f);
  n = statement(&f, "param W: [O: 3, D]", KD_AST_BIND);
  assert_true(n->n == 1 && !n->kid[1] && !n->kid[2] && strcmp(n->text2, "param") == 0);
  front_end(&f);
  n = statement(&f, "let a, b: [B] = c", KD_AST_LET_MANY);
  assert_true(n->n == 4 && n->kid[0]->kind == KD_AST_TYPE && strcmp(n->kid[3]->text, "b") == 0);
  front_end(&f);
  n = statement(&f, "a, b[0] = c", KD_AST_ASSIGN);
  assert_true(n->n == 3 && strcmp(n->kid[0]->text, "c") == 0 && strcmp(n->kid[1]->text, "a") == 0 && n->kid[2]->kind == KD_AST_INDEX);
  front_end(&f);
  n = statement(&f, "use a.b.c as d, e", KD_AST_USE);
  assert_true(n->n == 2 && strcmp(n->kid[0]->text, "a.b.c") == 0 && strcmp(n->kid[0]->text2, "d") == 0 && !n->kid[1]->text2);
  front_end(&f);
}

static void kids_of_statements(void **s) {
  (void)s;
  front f;
  kd_ast *n = statement(&f, "train A, B[0] minimizing l on d for 3 epochs until e using o", KD_AST_TRAIN);
  assert_true(n->n == 6 && n->kid[0]->kind == KD_AST_MODELS && n->kid[0]->n == 2 && strcmp(n->kid[2]->text, "on") == 0);
  assert_true(strcmp(n->kid[3]->text, "for") == 0 && strcmp(n->kid[3]->text2, "epochs") == 0 && strcmp(n->kid[5]->text, "using") == 0);
  front_end(&f);
  n = statement(&f, "for n epochs { a = 1 }", KD_AST_FOR_COUNT);
  assert_true(n->n == 3 && !n->kid[1] && strcmp(n->text, "epochs") == 0);
  front_end(&f);
  n = statement(&f, "for epochs { a = 1 }", KD_AST_FOR_COUNT);                 /* the unit is missing: the elaborator says so */
  assert_true(!n->text && n->kid[2]->kind == KD_AST_BLOCK && strcmp(n->kid[0]->text, "epochs") == 0);
  front_end(&f);
  n = statement(&f, "for a, b in c { d = 1 }", KD_AST_FOR_IN);
  assert_true(n->n == 4 && n->kid[1]->kind == KD_AST_BLOCK && strcmp(n->kid[3]->text, "b") == 0);
  front_end(&f);
  n = statement(&f, "if a { b = 1 }", KD_AST_IF);
  assert_int_equal(n->n, 2);
  front_end(&f);
  n = statement(&f, "if a { b = 1 } else if c { d = 1 } else { e = 1 }", KD_AST_IF);
  assert_true(n->n == 3 && n->kid[2]->kind == KD_AST_IF && n->kid[2]->kid[2]->kind == KD_AST_BLOCK);
  front_end(&f);
  n = statement(&f, "repeat 3 until a { b = 1 }", KD_AST_REPEAT);
  assert_true(n->n == 3 && n->kid[1]);
  front_end(&f);
  n = statement(&f, "step A minimizing b", KD_AST_STEP);
  assert_int_equal(n->n, 2);
  front_end(&f);
  n = statement(&f, "report a, b: c", KD_AST_REPORT);
  assert_true(n->n == 1 && n->kid[0]->n == 2 && n->kid[0]->kid[0]->kind == KD_AST_ARG && strcmp(n->kid[0]->kid[1]->text, "b") == 0);
  front_end(&f);
  n = statement(&f, "stage hop[i]: f(a)", KD_AST_STAGE);
  assert_true(n->n == 2 && n->kid[0]->kind == KD_AST_INDEX && n->kid[1]->kind == KD_AST_EXPR_STMT);
  front_end(&f);
  n = statement(&f, "every 3 batches { a = 1 }", KD_AST_EVERY);
  assert_true(n->n == 2 && strcmp(n->text, "batches") == 0);
  front_end(&f);
}

static void views_and_parentheses(void **s) {
  (void)s;
  front f;
  kd_ast *n = statement(&f, "let a = x[(H, W) as N, C as c] * (b + c)", KD_AST_BIND)->kid[1];
  const kd_ast *merge = n->kid[0]->kid[1], *rename = n->kid[0]->kid[2], *sum = n->kid[1];
  assert_true((merge->flag & KD_AST_MERGE) && !(rename->flag & KD_AST_MERGE));
  assert_true(sum->flag & KD_AST_PAREN);
  assert_int_equal(sum->span.len, 7);            /* with its parentheses, so that the text can stand alone */
  front_end(&f);
}

static void strings_and_numbers(void **s) {
  (void)s;
  front f;
  kd_ast *n = statement(&f, "let a = \"x\\n\\t\\\"\\\\\\u{e9}\\u{1F600}\\0y\"", KD_AST_BIND)->kid[1];
  assert_int_equal(n->num, 13);
  assert_memory_equal(n->text, "x\n\t\"\\\xc3\xa9\xf0\x9f\x98\x80\0y", 14);
  front_end(&f);
  static const struct { const char *text; double num; int flag; } numbers[] = {
    { "4", 4, KD_AST_INTEGER }, { "0.5", 0.5, 0 }, { "1e-3", 1e-3, 0 }, { "1_000", 1000, KD_AST_INTEGER }, { "1_0.2_5E+1_0", 10.25e10, 0 }, { "0", 0, KD_AST_INTEGER } };
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    char text[64];
    snprintf(text, sizeof text, "let a = %s", numbers[i].text);
    n = statement(&f, text, KD_AST_BIND)->kid[1];
    assert_true(n->num == numbers[i].num);
    assert_int_equal(n->flag, numbers[i].flag);
    front_end(&f);
  }
}

static void comments_are_kept(void **s) {
  (void)s;
  front f;
  front_parse(&f, "// a\nlet b = 1 // c\n/// d\nfn e(x) = x\n//// f\n");
  assert_int_equal(f.sink.diag.n, 0);
  assert_int_equal(f.syn->comment.n, 4);
  assert_true(!f.syn->comment.v[0].doc && f.syn->comment.v[2].doc && !f.syn->comment.v[3].doc);
  assert_memory_equal(f.src->text + f.syn->comment.v[1].at, "// c", f.syn->comment.v[1].len);
  front_end(&f);
}

/* Independent faults give a message each, and what lies between them is understood. */
static void faults_do_not_hide_each_other(void **s) {
  (void)s;
  front f;
  front_parse(&f, "let a = f(1, 2\nlet b = x[1:3]\nloss c(s: [B K]) { return s }\nlet d = * 2\nlet ok = 5\nnet e(x) { y = 3 4; return }\n");
  assert_int_equal(f.sink.errors, 6);
  for (size_t i = 0; i < 4; i++) {
    int line, col;
    kd__source_pos(f.src, f.sink.diag.v[i]->label[0].span.at, &line, &col);
    assert_int_equal(line, (int)i + 1);
  }
  bool found = false;
  for (uint32_t i = 0; i < f.syn->file->n; i++) found = found || (f.syn->file->kid[i]->kind == KD_AST_BIND && strcmp(f.syn->file->kid[i]->text, "ok") == 0);
  assert_true(found);
  front_end(&f);
}

/* Whatever bracket a fault is in, the text after it is read. */
static void the_rest_is_always_read(void **s) {
  (void)s;
  static const char *const faults[] = {
    "let a = x[(H, W) @ as N]", "let a = x[(H, W) y as N]", "let a = x[(H, W as N]", "let a = x[D as (h: 8 8, d)] y", "let a = f(x)(1 2)[3 4].y z", "let a = (b: 1 2, c: 3) d",
    "let a = [b for c d in e] f", "let a: list([B C], int) = x", "let a: (l: [B] m) = x", "fn f(a b) -> [C D] = a b", "fn f(a) x = 1", "let a = fn(x y) = x y", "net f(x) { y z } w",
    "net f(x) { a = (1 2 }", "stage a[1 2]: train B minimizing c d", "stage b c { train D minimizing e }", "if a b { c d } else e { f = 1 }", "for a, in b { c = 1 }",
    "for a b epochs c { d = 1 }", "repeat 3 4 { a = 1 } until b", "scheme x { a = 1 }", "{ a = 1 }", "}", ")", "]", "@", "let a = \"x", "let a = 'x", "use a..b", "a, b c = d", "keep b",
    "report", "save a b", "copy a", "update = = 3", "let a = b |> |> c", "let a = if b then c", "loss a(b) = from c", "/* x", "let a = {b c}", "let a = f({b c})", "x = [[1 2] [3 4]]" };
  char text[256];
  for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
    front f;
    snprintf(text, sizeof text, "let first = 1\n%s\nlet last = 1 2\nlet final = 3\n", faults[i]);
    front_parse(&f, text);
    const kd_ast *file = f.syn->file, *end = file->n ? file->kid[file->n - 1] : file;
    bool told = false;
    for (size_t k = 0; k < f.sink.diag.n; k++) {
      int line, col;
      kd__source_pos(f.src, f.sink.diag.v[k]->label[0].span.at, &line, &col);
      told = told || (line == 3 && col == 14);
    }
    if (f.sink.errors < 2 || !told || end->kind != KD_AST_BIND || strcmp(end->text, "final") != 0) fail_msg("after %s the rest is lost:\n%s", faults[i], front_diags(&f));
    front_end(&f);
  }
}

static void one_fault_one_message(void **s) {
  (void)s;
  static const char *const texts[] = {
    "let a = f(1, g(2)\nlet b = 3\n", "net f(x {\n  return x\n}\nlet b = 1\n", "let a = [1, 2)\nlet b = 1\n", "let a = 1 )\nlet b = 2\n", "let = 3\nlet b = 2\n",
    "let a = f(x y (z) [w])\nlet b = 1\n", "if a b { c = 1 }\nlet b = 1\n", "net f(x) -> { return x }\n", "fn f(x) = { return x }\nlet b = 1\n", "let a = (b, c)\n",
    "let a = \"abc\nlet b = 1\n", "let a = f(\"abc, 3)\nlet b = 1\n", "train A on b\nlet c = 1\n", "let a = b ..\n\nlet c = 1\n", "let a = x[1:3, 2:4]\n", "def f(x): return x\n",
    "let a = 5 @ 3\nlet b = 1\n", "net f(x) {\n  a = (1 + 2\n}\nlet b = 1\n", "let a = f(g(h(1, 2)\nlet b = 1\n" };
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    front f;
    front_parse(&f, texts[i]);
    if (f.sink.errors != 1) fail_msg("%s gives %zu errors:\n%s", texts[i], f.sink.errors, front_diags(&f));
    front_end(&f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(precedence), cmocka_unit_test(literals_lists_records), cmocka_unit_test(indices_and_views), cmocka_unit_test(words_are_names),
    cmocka_unit_test(the_words_are_all), cmocka_unit_test(newlines), cmocka_unit_test(kids_of_definitions), cmocka_unit_test(kids_of_bindings),
    cmocka_unit_test(kids_of_statements), cmocka_unit_test(views_and_parentheses), cmocka_unit_test(strings_and_numbers), cmocka_unit_test(comments_are_kept),
    cmocka_unit_test(faults_do_not_hide_each_other), cmocka_unit_test(the_rest_is_always_read),
    cmocka_unit_test(one_fault_one_message) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
