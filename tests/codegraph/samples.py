"""One short text of every language, each with the shapes that its query is written for."""

PYTHON = b'''"""Module words."""
import os, sys as system
from . import near, far as further
from ..pkg.mod import (one,  # why
    two)

LIMIT = 3


@decorate(1)
@app.route
class Request(Base, other.Mixin[int], metaclass=Meta):
    """Class words."""

    @property
    def blueprint(self, path: str = "") -> str:
        def inner():
            return helper(path)

        return inner()


async def top():
    await Request()
'''

JAVASCRIPT = b"""const {one, two: renamed} = require('./pair'), whole = require("whole")
import base, {named as other} from 'base'
export * from './again'
const lazy = () => import('./lazy')
export default class Reply extends mixin(Base) {
  static make = () => { build() }
  get value() { return new ns.Thing() }
  #hidden() {}
}
res.status = function status (code) { return this }
Thing.prototype.method = function () { call() }
exports.served = async function () {}
const handlers = { get: () => 1, put () {}, 'x-y': function () {} }
app.on('end', function onEnd () { finish() })
function outer () {
  const arrow = (a) => a
  function within () { arrow() }
}
"""

TYPESCRIPT = b"""import type { A, B } from "./types"
import main, * as everything from 'main'
export interface Shape<T> extends Base<T>, Other { a: string }
type Query = { x: number }
declare namespace outer { export function inner(): void }
export enum Colour { Red }
export const useThing = async <T>(a: T): Promise<T> => { call() }
@Component({ a: 1 })
export class Panel<T> extends View<T> implements Shape<T>, Other {
  private handler = (a: number) => { act() }
  constructor() { super() }
  abstract later(): void
}
"""

TSX = b"""export function Page() {
  return <Layout><ns.Card /><div /></Layout>
}
"""

GO = b"""package main

import (
	"fmt"
	alias "example.com/a/b"
)

// Store words.
type Store struct {
	Base
	*other.Queue
	count int
}

type Reader interface {
	io.Reader
	Read() error
}

type Name = string

const first, second = 1, 2

var (
	shared = 3
)

func (s *Store[K]) Put(a int) error {
	fmt.Println(Store{})
	return nil
}

func main() { run() }
"""

RUST = b"""use crate::a::{b, c::{d, e as f}, self};
use std::fmt;
use super::*;
mod elsewhere;
extern crate serde;

#[derive(Clone)]
/// Words.
pub struct Layer<T> {
    inner: T,
}

impl<T> Service<T> for Layer<T> {
    type Error = ();
    fn call(&self) -> u8 {
        fmt::write::<T>();
        format!("a");
        helper::<T>(Other { a: 1 })
    }
}

impl<'a> PartialEq for &mut Layer<'a> {
    fn eq(&self) {}
}

pub trait Handler: Clone + Send {
    const ID: u8;
    fn handle(&self);
}

macro_rules! define { () => {} }

#[cfg(test)]
mod tests {
    #[test]
    fn works() {}
}
"""

JAVA = b"""package com.acme.shop;

import java.util.List;
import static com.acme.Util.join;
import com.acme.other.*;

@Service(name = "x")
public final class Cart<T> extends Base<T> implements Holder, Seen<T> {
  static final int LIMIT = 1;
  private int count;

  @Override
  public <U> void add(int a) throws Failure {
    new Item<>(a).price();
    list.forEach(this::seen);
  }

  Cart() {}

  enum Kind { A; void m() {} }
  record Pair(int a) {}
  interface Port extends Other { void open(); }
}
"""

C = b"""#include <stdio.h>
#include "a/b.h"
#define LIMIT 10
#define SQUARE(x) ((x) * (x))
#ifndef GUARD
typedef struct node { int a; void (*each)(int); } node_t;
#endif
struct pair { int z; };
enum colour { RED };
typedef int (*callback)(void);
static const char *names[] = { "a" };
int proto(void);
char **split(int a, void (*each)(int)) { one(a); s->two(1); return 0; }
static inline void *grab(void)
{
    return malloc(LIMIT);
}
"""

CPP = b"""#include <vector>
namespace shop {
template <typename T>
class Cart final : public Base<T>, private other::Mixin {
public:
  Cart(int a) : count(a) {}
  ~Cart();
  void add() const { local(); other::far<int>(1); this->near<int>(); }
  bool operator==(const Cart &o) const { return true; }
};
using Items = std::vector<int>;
enum class Kind { A };
}
void shop::Cart<int>::total(int z) { auto p = new Item(1); ns::deep::call(); }
shop::Cart::~Cart() {}
int &reference() { return x; }
"""

C_SHARP = b"""using System;
using static Acme.Util;
using Short = Acme.Long.Name;
namespace Acme.Shop
{
    [Service(1)]
    public class Cart<T> : Base<T>, IHolder where T : class
    {
        public const int Limit = 1;
        public int Count { get; set; }
        public Cart(int x) : base(x) { }
        [Test]
        public async Task<int> Add(int a)
        {
            await queue.Send<int>(1);
            new Item<int>();
            other?.Later();
            return Local();
            int Local() { return 1; }
        }
    }
    interface IHolder : IOther { void Hold(); }
    enum Kind { A }
    record Pair(int A);
}
"""

RUBY = b"""require 'json/add'
require_relative "near"
module Shop
  LIMIT = 1
  class Cart < Base::Record
    include Enumerable
    extend One, Two
    def initialize(a)
      build(a)
    end
    def self.make
      new(1)
    end
    def empty?; end
    class << self
      def again; other.call_it; end
    end
  end
end
def top; Cart.new; end
"""

PHP = b"""<?php
namespace App\\Http;
use Acme\\Mail\\Sender;
use Acme\\Shop\\{Cart, Item as Thing};
use function Acme\\join;
require_once 'boot.php';
require __DIR__ . '/near.php';
#[Route('/x')]
abstract class Controller extends Base implements Seen, \\Acme\\Other {
  use Logs, Counts;
  const LIMIT = 1;
  public function run(int $a): ?string { helper($a); $this->own(); Base::still(); new Item(); return null; }
}
interface Seen extends Other { function see(); }
trait Logs {}
enum Kind: string { case A = 'a'; }
function top() {}
"""

BASH = b"""#!/bin/bash
source ./lib.sh
. "$HERE/more.sh"
LIMIT=1
readonly NAME=2
function first { echo hi; second; }
second() {
  local z=1
  first "$z" | grep x
}
second
"""

ALL = {
    "bash": BASH,
    "c": C,
    "c-sharp": C_SHARP,
    "cpp": CPP,
    "go": GO,
    "java": JAVA,
    "javascript": JAVASCRIPT,
    "php": PHP,
    "python": PYTHON,
    "ruby": RUBY,
    "rust": RUST,
    "tsx": TSX,
    "typescript": TYPESCRIPT,
}
"""Every sample by the name of its language."""
